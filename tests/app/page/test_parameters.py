"""Fields of a form for every method, as its schema has them."""

import pytest

from app.methods.registry import METHODS, parse
from app.page import parameters


@pytest.mark.parametrize("name", METHODS)
def test_defaults_as_they_are_shown_are_defaults(name):
    """Whatever has one may be said, and says the same."""
    fields = parameters.of(METHODS[name].model_json_schema())
    shown = {field.field: field.default or "" for field in fields}
    said = parameters.given(fields, lambda field: shown[field])
    for one, value in said.items():
        assert value == METHODS[name].model_fields[one].default, one
    assert {field.name for field in fields}.isdisjoint({"name", "labels_per_class"})


def test_what_one_line_cannot_say_is_left_out():
    names = {field.name for field in parameters.of(METHODS["fine_tune"].model_json_schema())}
    assert {"epochs", "optimizer", "guard", "head_start", "class_weights"} <= names
    assert names.isdisjoint({"terms", "augmentation", "input", "learning_rates", "sharpness"})


def test_values_have_their_types():
    fields = parameters.of(METHODS["fine_tune"].model_json_schema())
    said = {"epochs": "3", "learning_rate": "1e-3", "guard": "true", "optimizer": "sgd"}
    given = parameters.given(fields, lambda field: said.get(field.removeprefix("method."), ""))
    assert given == {"epochs": 3, "learning_rate": 0.001, "guard": True, "optimizer": "sgd"}
    assert parse({"name": "fine_tune"} | given).document().items() >= given.items()
    with pytest.raises(ValueError, match="Epochs is a number"):
        parameters.given(fields, lambda field: "many" if field == "method.epochs" else "")
