"""The drawings of docs/architecture.md show the code: every name is imported, every solid arrow is a call."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
DRAWINGS = re.findall(r"```mermaid\n(.*?)```", PAGE, re.S)
NODES = dict(re.findall(r'(\w+)\["([\w.]+)"\]', PAGE))
NAMES = sorted(set(re.findall(r"\b(?:app|worker)(?:\.\w+)+", PAGE)))
CALLS = [
    (caller, called)
    for drawing in DRAWINGS
    for caller, called in re.findall(r'^ *(\w+)(?:\["[\w.]+"\])? --> (\w+)', drawing, re.M)
]


def found(name):
    """The module, class, function or constant of a dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            part = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            part = getattr(part, attribute)
        return part
    raise ModuleNotFoundError(name)


def test_there_are_two_drawings():
    assert len(DRAWINGS) == 2
    assert len(NODES) > 15
    assert len(CALLS) > 10


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_in_the_code(name):
    assert found(name) is not None


def test_a_name_that_is_gone_is_seen():
    with pytest.raises(AttributeError):
        found("app.jobs.service.settle")
    with pytest.raises(ModuleNotFoundError):
        found("nowhere.jobs")


@pytest.mark.parametrize(("caller", "called"), CALLS)
def test_every_solid_arrow_is_a_call(caller, called):
    source = inspect.getsource(found(NODES[caller]))
    *_, owner, name = NODES[called].split(".")
    assert re.search(rf"\b{name}\(|\b{owner}\.{name}\b", source)
