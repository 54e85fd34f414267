"""Free JSON in requests is bounded before it reaches the database."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from app.contract.base import FreeDocument, Text

DOCUMENT = TypeAdapter(FreeDocument)


def nested(levels: int) -> dict[str, object]:
    document: dict[str, object] = {}
    for _ in range(levels):
        document = {"a": document}
    return document


def test_ordinary_json_passes() -> None:
    document = {"input": [1, 28, 28], "layers": [{"type": "ReLU", "p": 0.5, "inplace": True, "name": None}]}
    assert DOCUMENT.validate_python(document) == document


@pytest.mark.parametrize(
    "document",
    [
        {"a": float("nan")},
        {"a": [float("-inf")]},
        {"a": 10**400},
        {"a": "x\0"},
        {"x\0": 1},
        {"a": json.loads('"\\ud800"')},
        {"a": "x" * 300_000},
        nested(100),
    ],
)
def test_what_cannot_be_stored_or_echoed_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DOCUMENT.validate_python(document)


@pytest.mark.parametrize("text", ["x\0y", json.loads('"\\ud800"')])
def test_text_that_a_database_refuses_is_refused_before(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Text).validate_python(text)
