"""The parameters of a method as fields of a form, made of its JSON Schema: those that one line can say."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

BEFORE = "method."  # their names in a form
FIXED = ("name", "labels_per_class")  # which the form asks for elsewhere

Kind = Literal["integer", "number", "choice"]
Node = Mapping[str, Any]  # of a schema


@dataclass(frozen=True)
class Parameter:
    """`default` is that of the schema, None where a rule chooses; `span` says what a number may be."""

    name: str
    kind: Kind
    choices: Sequence[str]
    default: str | None
    span: str

    @property
    def field(self) -> str:
        return BEFORE + self.name

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")


def of(schema: Node) -> list[Parameter]:
    """The parameters in the order of the schema; what needs more than a line is left to JSON."""
    found = (_parameter(name, node) for name, node in schema["properties"].items() if name not in FIXED)
    return [parameter for parameter in found if parameter is not None]


def given(parameters: Sequence[Parameter], text: Callable[[str], str]) -> dict[str, object]:
    """The values that a form says, by name; `text` gives a field's, empty where it says nothing.

    Raises:
        ValueError: a number is none.
    """
    return {one.name: _value(one, said) for one in parameters if (said := text(one.field))}


def _parameter(name: str, node: Node) -> Parameter | None:
    options = [option for option in node.get("anyOf", [node]) if not _open(option)]
    if len(options) != 1:
        return None
    [option], default = options, node.get("default")
    choices = ("true", "false") if option.get("type") == "boolean" else tuple(_choices(option))
    number = option.get("type") in ("integer", "number")
    if not choices and not number:
        return None
    kind: Kind = "choice" if choices else option["type"]
    said = None if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    return Parameter(name, kind, choices, said, _span(option) if number else "")


def _open(option: Node) -> bool:
    """Tell whether the option leaves the parameter to a rule, as an empty field does."""
    return option.get("type") == "null" or option.get("const") == "auto"


def _choices(option: Node) -> Iterator[str]:
    if option.get("type") == "string":
        yield from option.get("enum", [option["const"]] if "const" in option else [])


def _span(option: Node) -> str:
    low, above = option.get("minimum"), option.get("exclusiveMinimum")
    high, below = option.get("maximum"), option.get("exclusiveMaximum")
    start = f"from {low:,}" if low is not None else f"above {above:,}" if above is not None else ""
    end = f"to {high:,}" if high is not None else f"below {below:,}" if below is not None else ""
    return f"{start} {end}".strip()


def _value(parameter: Parameter, said: str) -> object:
    if parameter.kind == "choice":
        return {"true": True, "false": False}.get(said, said)
    try:
        value = int(said) if parameter.kind == "integer" else float(said)
        if math.isfinite(value):
            return value
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{parameter.words.capitalize()} is a number, not {said[:40]!r}.")
