"""Counts by which the architecture is judged: `python tests/architecture/counts.py` prints them beside their targets.

Every count has a target, and a ceiling where that is not reached yet.  Whoever lowers a count lowers its ceiling in the
same commit; no commit raises one.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
HALVES = ("app", "worker", "regraft")
PACKAGES = (*HALVES, "migrations")
SERVER = ("app", "worker", "migrations")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# A docstring that begins with one of these has no subject: it leans on the name above it, or on a neighbour's
# docstring, and says nothing by itself in a hover.  Methods and private functions count as all others do.
LEANING = re.compile(
    r"(The same|The like|The others?|Likewise|Also|And|Or|But|So|As|Of|For|By|With|Without|From|To|In|Into|On|At|Under|"
    r"Over|Beside|Between|Among|Per|Those|These|This|That|Such|It|Its|They|Their|What|Whatever|Where|Wherever|When|"
    r"Whenever|Which|Whichever|Who|Whoever|Whose|Whom|How|Why|Whether|See|If|Until|Unless|Since|Because|None)\b"
)


@dataclass(frozen=True)
class Count:
    """`found` measures it; `ceiling` is what it may be today, `target` what it is to be."""

    name: str
    found: Callable[[], float]
    target: float
    ceiling: float

    @property
    def most(self) -> float:
        return max(self.target, self.ceiling)


@cache
def trees(under: str) -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted((ROOT / under).rglob("*.py"))}


def nodes(*roots: str) -> Iterator[ast.AST]:
    for root in roots:
        for tree in trees(root).values():
            yield from ast.walk(tree)


def asks_for_the_method(root: str) -> int:
    """Calls of `isinstance` on a method or its parameters: `method`, `params`, `request.method`, …"""
    asked = 0
    for node in nodes(root):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "isinstance":
            subject = node.args[0]
            asked += getattr(subject, "attr", getattr(subject, "id", None)) in ("method", "params")
    return asked


def untyped_documents() -> float:
    """How often `dict[str, Any]` stands in a thousand lines that are not blank."""
    found = lines = 0
    for root in HALVES:
        for path, tree in trees(root).items():
            lines += sum(bool(line.strip()) for line in path.read_text().splitlines())
            found += sum(is_untyped(node) for node in ast.walk(tree))
    return round(1000 * found / lines, 2)


def is_untyped(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and ast.unparse(node) == "dict[str, Any]"


def most_arguments() -> int:
    return max(len(arguments(node)) for node in nodes(*SERVER) if isinstance(node, FUNCTIONS))


def most_positional_arguments() -> int:
    """Arguments in `regraft` that a caller may pass without their name.

    A request's fields are passed to the client by keyword, each under its own name: that is the field list of the
    document, and to hide it in a class would take it from the editor's help.  A command's parameters are never passed
    by position: typer reads them as the options of a command line.
    """
    counted = [
        len(arguments(node, keyword_only=False))
        for node in nodes("regraft")
        if isinstance(node, FUNCTIONS) and not is_command(node)
    ]
    return max(counted)


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether typer calls the function: `@app.command()`, or a callback of the whole application."""
    called = [decorator.func for decorator in function.decorator_list if isinstance(decorator, ast.Call)]
    return any(isinstance(one, ast.Attribute) and one.attr in ("command", "callback") for one in called)


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef, *, keyword_only: bool = True) -> list[str]:
    """Names of what a caller may pass, `self` and `cls` aside."""
    every = function.args
    counted = (*every.posonlyargs, *every.args, *(every.kwonlyargs if keyword_only else ()))
    named = [argument.arg for argument in counted]
    return [name for name in named if name not in ("self", "cls")]


def import_circles() -> int:
    """Modules that lie on a circle of imports, or between two."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return len(circles({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}))


def circles(imports: dict[str, set[str]]) -> list[str]:
    """What is left once all has been taken away, again and again, that imports nothing of the rest or is imported by
    nothing of it: the circles, and what lies between two of them."""
    rest = set(imports)
    while True:
        imported = {other for module in rest for other in imports[module]}
        ends = {module for module in rest if module not in imported or not imports[module] & rest}
        if not ends:
            return sorted(rest)
        rest -= ends


def repeated_classes() -> list[str]:
    """Public class names that stand in more than one module of a half, as `half.Name`."""
    repeated = []
    for half in HALVES:
        names = Counter(node.name for node in nodes(half) if isinstance(node, ast.ClassDef))
        repeated += [f"{half}.{name}" for name, times in names.items() if times > 1 and not name.startswith("_")]
    return sorted(repeated)


def docstrings_without_a_subject() -> list[str]:
    """The first lines of docstrings that begin with one of the words of `LEANING`."""
    documented = (ast.Module, ast.ClassDef, *FUNCTIONS)
    found = []
    for node in nodes(*PACKAGES):
        if isinstance(node, documented) and (said := ast.get_docstring(node)) and LEANING.match(said):
            found.append(said.splitlines()[0])
    return found


COUNTS = (
    Count("isinstance on a method, app/jobs", lambda: asks_for_the_method("app/jobs"), target=0, ceiling=0),
    Count("isinstance on a method, worker", lambda: asks_for_the_method("worker"), target=2, ceiling=2),
    Count("dict[str, Any] in 1000 lines", untyped_documents, target=3, ceiling=2.2),
    Count("most arguments of a function", most_arguments, target=8, ceiling=8),
    Count("most positional ones, regraft", most_positional_arguments, target=8, ceiling=8),
    Count("modules on circles of imports", import_circles, target=0, ceiling=0),
    Count("class names twice within a half", lambda: len(repeated_classes()), target=0, ceiling=0),
    Count("docstrings without a subject", lambda: len(docstrings_without_a_subject()), target=0, ceiling=0),
)


def main() -> int:
    """Print every count with its target and its ceiling; with `--names`, what is counted where that has names.

    Returns:
        1 where one is above its ceiling.
    """
    print(f"{'':34} {'found':>7} {'target':>7} {'ceiling':>7}")
    above = False
    for count in COUNTS:
        found = count.found()
        above |= found > count.most
        print(f"{count.name:34} {found:7g} {count.target:7g} {count.most:7g}")
    if "--names" in sys.argv:
        print(*repeated_classes(), *docstrings_without_a_subject(), sep="\n")
    return int(above)


if __name__ == "__main__":
    sys.exit(main())
