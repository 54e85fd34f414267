"""A method is two files, a term two more: nothing else names it, and none imports another."""

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from app.methods.registry import METHODS
from app.methods.terms.registry import TERMS

ROOT = Path(__file__).parents[2]
MODULES = {name: method.__module__ for name, method in METHODS.items()}
OWN = {
    path
    for module in MODULES.values()
    for path in (f"{module.replace('.', '/')}.py", f"worker/{module.partition('.')[2].replace('.', '/')}.py")
}
WORDS = {"train"}  # which is what a split is called, too

# Files that name methods, and why that is not knowledge that a new method would have to be added to.
NAMING: dict[str, str] = {
    "app/api/downloads.py": "a refusal says which method makes what is asked for",
    "app/api/examples.py": "examples of requests are of one method or the other",
    "app/api/models.py": "the description of a route says who reads what it gives",
    "app/api/predictions/answering.py": "a way of predicting is called as its method is",
    "app/api/schemas/checkpoints.py": "the description of a field says which method it keeps from",
    "app/api/schemas/models.py": "`POST …/quantizations` is short for a job of that method",
    "app/choosing/forecast.py": "figures were measured of these methods; of others nothing is forecast",
    "app/contract/evaluation.py": "contenders of a guard are called as the methods that make them",
    "app/contract/grafted.py": "a fitted head is called as the learner that fits it",
    "app/methods/fusion/family.py": "a refusal names the way out",
    "app/models/card.py": "the card says how to measure again",
    "app/page/doing.py": "a form begins with the method that most people want",
    "app/tournaments/automatic.py": "without labels there is nothing to choose a method by: these are the usual ones",
    "app/tournaments/shortlist.py": "nothing forecasts these methods, and yet they may win: they race",
    "worker/choosing/evidence.py": "scores are called as the learners and distances that they are made of",
    "worker/ingest/adopt.py": "a refusal says what is not answered before a head is trained",
    "worker/methods/self_supervised/neighbours.py": "a metric is called as its classifier is",
    "worker/methods/source_free/norms.py": "a refusal names the way out",
    "worker/runs/guard.py": "a guard's contenders are these methods",
}


def named(tree: ast.Module) -> Iterator[str]:
    """Methods that a module imports, or names in a string: as a whole, or as `name` within it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            family, _, name = node.module.partition(".methods.")[2].partition(".")
            if name in METHODS and MODULES[name] == f"app.methods.{family}.{name}":
                yield name
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in METHODS.keys() - WORDS:
                if node.value == name or f"`{name}`" in node.value:
                    yield name


def naming() -> dict[str, set[str]]:
    """Files of both halves, but those of methods, that name one."""
    found = {}
    for half in ("app", "worker"):
        for path in sorted((ROOT / half).rglob("*.py")):
            file = str(path.relative_to(ROOT))
            if file not in OWN and (names := set(named(ast.parse(path.read_text())))):
                found[file] = names
    return found


def test_a_methods_name_stands_in_its_own_two_files_alone():
    assert naming().keys() == NAMING.keys()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from app.methods.source_free.tent import Tent", {"tent"}),
        ("from worker.methods.source_free.tent import tent", {"tent"}),
        ("if method.name == 'tent': ...", {"tent"}),
        ('f"{x}: take `tent`."', {"tent"}),
        ('"attention"', set()),
        ('splits["train"]', set()),
        ("from app.methods.source_free.family import SourceFree", set()),
    ],
)
def test_a_name_is_seen(code, names):
    assert set(named(ast.parse(code))) == names


def test_no_method_and_no_term_imports_another():
    """In neither half, be it by way of others; what several share is a module without a name of theirs."""
    graph = grimp.build_graph("app", "worker", cache_dir=None)
    for half in ("app", "worker"):
        own = {module.replace("app.", f"{half}.", 1) for module in MODULES.values()} & graph.modules
        assert len(own) > 30
        for module in own:
            assert graph.find_upstream_modules(module) & own == set(), module
    terms = {f"worker.terms.{name}" for name in TERMS} | {term.__module__ for term in TERMS.values()}
    for module in terms:
        others = graph.find_upstream_modules(module) & terms
        assert {other for other in others if other.startswith(module.partition(".")[0])} == set(), module


def test_a_class_is_found_in_the_module_of_its_name():
    for name, found in [*METHODS.items(), *TERMS.items()]:
        assert found.model_fields["name"].default == name == found.__module__.rpartition(".")[2]
