"""Parameters are of the types that JSON has for them."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from app.contract.base import StrictModel
from app.methods.registry import METHODS, parse
from app.methods.supervised.train import Train


class Within(StrictModel):
    type: Literal["within"] = "within"
    n: int = 1


class Whole(StrictModel):
    n: Annotated[int, Field(ge=0)] = 1
    x: float | None = 0.5
    yes: bool = False
    channels: Literal[1, 3] = 1
    sizes: tuple[int, ...] = ()
    default: dict[str, float] = {}
    within: list[Within] = []


@pytest.mark.parametrize(
    "body",
    [
        {"n": True},
        {"n": "3"},
        {"x": True},
        {"x": "0.5"},
        {"yes": 1},
        {"yes": "yes"},
        {"channels": True},
        {"sizes": [1, True]},
        {"sizes": ["1"]},
        {"default": {"a": True}},
        {"within": [{"n": True}]},
    ],
    ids=str,
)
def test_another_type_is_refused(body):
    with pytest.raises(ValidationError):
        Whole.model_validate(body)


def test_numbers_are_numbers():
    body = {"n": 3.0, "x": 1, "yes": True, "channels": 3, "sizes": [1, 2], "within": [{"type": "within", "n": 2}]}
    assert Whole.model_validate(body).n == 3
    assert Whole.model_json_schema()["properties"]["n"] == {
        "default": 1,
        "minimum": 0,
        "title": "N",
        "type": "integer",
    }


def test_epochs_true_is_not_one():
    network = {"name": "cnn3", "num_classes": 2}
    for wrong in (True, "1"):
        with pytest.raises(ValidationError):
            Train.model_validate({"name": "train", "network": network, "epochs": wrong})


@pytest.mark.parametrize("name", METHODS)
def test_no_parameter_of_a_method_takes_true_for_a_number(name):
    params = METHODS[name]
    for field, schema in params.model_json_schema()["properties"].items():
        if schema.get("type") in ("integer", "number"):
            with pytest.raises(ValidationError) as raised:
                params.model_validate({"name": name, field: True})
            assert (field,) in [fault["loc"] for fault in raised.value.errors()]


@pytest.mark.parametrize("name", METHODS)
def test_auto_is_what_is_left_out(name):
    schema = METHODS[name].model_json_schema()["properties"]
    resolved = [one for one, node in schema.items() if {"const": "auto", "type": "string"} in node.get("anyOf", ())]
    example = {"name": name, **METHODS[name].examples[""]}
    left_out = {key: value for key, value in example.items() if key not in resolved}
    assert parse(left_out | dict.fromkeys(resolved, "auto")).document() == parse(left_out).document()
    for one in resolved:
        with pytest.raises(ValidationError):
            parse(left_out | {one: "soon"})
