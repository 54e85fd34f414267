"""What the documents say is what there is."""

import re
from pathlib import Path

import pytest

from app.methods.registry import METHODS
from app.methods.terms.registry import TERMS
from tests.architecture import tables

METHODS_PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
NAMED = set(re.findall(r"`([A-Za-z0-9_.]+)`", METHODS_PAGE))
HEADINGS = "\n".join(line for line in METHODS_PAGE.splitlines() if line.startswith("## "))
OBVIOUS = {"name", "network", "input"}


@pytest.mark.parametrize("table", tables.TABLES)
def test_tables_are_what_methods_and_terms_say_of_themselves(table):
    page, renewed = tables.renewed(table)
    assert page == renewed, "`make tables` renews it"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_section(method):
    assert method == "train" or f"`{method}`" in HEADINGS


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_of_a_method_is_named(method):
    assert set(METHODS[method].model_fields) - OBVIOUS <= NAMED


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
