"""docs/glossary.md: every name that it gives is there, and none that it gives up."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
HALVES = ("app", "worker", "regraft")


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return table[1:]


@cache
def names() -> frozenset[str]:
    """Dotted names of all modules, and of the classes, functions and aliases at their top."""
    found = set()
    for path in (path for half in HALVES for path in (ROOT / half).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        defined = (name for node in ast.parse(path.read_text()).body for name in defines(node))
        found |= {module, *(f"{module}.{name}" for name in defined)}
    return frozenset(found)


def defines(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
    return []


def test_every_word_names_something():
    in_code = [cells[2].strip("`") for cells in rows()]
    assert len(in_code) > 20
    assert [name for name in in_code if name not in names()] == []


def test_a_word_has_one_line():
    words = [cells[0] for cells in rows()]
    assert len(words) == len(set(words))


def test_what_was_given_up_names_nothing():
    given_up = {word for cells in rows() for word in re.findall(r"\w+", cells[3])}
    assert len(given_up) > 8
    assert sorted(name for name in names() if name.rpartition(".")[2] in given_up) == []
