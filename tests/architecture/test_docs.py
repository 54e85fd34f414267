"""What the documents say is what there is."""

import re
from pathlib import Path

import pytest

from app.methods.registry import METHODS
from app.methods.terms.registry import TERMS

METHODS_PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
NAMED = set(re.findall(r"`([A-Za-z0-9_.]+)`", METHODS_PAGE))
HEADINGS = "\n".join(line for line in METHODS_PAGE.splitlines() if line.startswith("## "))
OBVIOUS = {"name", "network", "input"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_line_and_its_section(method):
    assert re.search(rf"^\| `{method}` \| .+ \| .+ \|$", METHODS_PAGE, re.MULTILINE), "no line in the table"
    assert method == "train" or f"`{method}`" in HEADINGS, "no section"


def test_no_method_is_described_that_does_not_exist():
    table = METHODS_PAGE.partition("\n## ")[0]
    described = re.findall(r"^\| `([a-z0-9_]+)` \| [^|]+ \| [^|]+ \|$", table, re.MULTILINE)
    assert set(described) == set(METHODS)
    assert len(described) == len(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_of_a_method_is_named(method):
    assert set(METHODS[method].model_fields) - OBVIOUS <= NAMED


def test_every_term_has_its_line():
    section = METHODS_PAGE.partition("\n## Terms")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `([a-z0-9_]+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE)
    assert described == list(TERMS)


@pytest.mark.parametrize("term", TERMS)
def test_every_parameter_of_a_term_is_named(term):
    assert set(TERMS[term].model_fields) - OBVIOUS <= NAMED


def test_every_method_says_what_clients_show():
    for name, method in METHODS.items():
        info = method.info
        assert method.model_json_schema()["properties"]["name"]["const"] == name
        assert info.summary.endswith(".")
        assert info.when.endswith((".", "?"))
        assert re.search(r"(19|20)\d\d", info.reference)
