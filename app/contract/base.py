"""Bases that every document of the contract shares: parsed at the edge, closed, finite."""

import json
import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

MAX_DOCUMENT_CHARS = 256 * 1024
MAX_DOCUMENT_DEPTH = 32
LARGEST_NUMBER = 2**53  # beyond it JSON readers disagree


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise PydanticKnownError("int_type")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise PydanticKnownError("float_type")
    return value


def _truth(value: Any) -> Any:
    if not isinstance(value, bool):
        raise PydanticKnownError("bool_type")
    return value


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("literal_error", "Input should not be true or false")
    return value


def _moment(value: Any) -> Any:
    """pydantic takes numbers, and strings of digits, for seconds since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]", value)):
        return value
    raise PydanticCustomError("datetime_type", "Input should be a date and time as RFC 3339 has it")


_CHECKS = {"int": _whole_number, "float": _number, "bool": _truth, "literal": _no_truth, "datetime": _moment}
_OPAQUE = ("metadata", "serialization", "config", "default", "expected", "function", "cls")


def _of_json(schema: Any) -> Any:
    """A core schema that takes for each type what JSON has for it."""
    if isinstance(schema, list | tuple):
        return type(schema)(_of_json(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if not isinstance(kind, str):  # schemas by the names of fields, or of alternatives
        return {name: _of_json(part) for name, part in schema.items()}
    if kind == "function-before" and schema["function"]["function"] in _CHECKS.values():
        return schema  # of a model within, which has been here
    parts = {name: part if name in _OPAQUE else _of_json(part) for name, part in schema.items()}
    if kind not in _CHECKS or (kind == "literal" and not any(type(one) is int for one in schema["expected"])):
        return parts
    checked: Any = core_schema.no_info_before_validator_function(_CHECKS[kind], cast(CoreSchema, parts))
    return checked


class _OrAuto:
    """Lets `"auto"` say what null says of a parameter: that a documented rule resolves it."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_left_open, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        document = handler(schema)
        return document | {"anyOf": [*document["anyOf"], {"const": "auto", "type": "string"}]}


def _left_open(value: object) -> object:
    return None if value == "auto" else value


OR_AUTO = _OrAuto()


class StrictModel(BaseModel):
    """Unknown fields, NaN and infinity are refused, and what JSON has another type for: `true` and "3" are no numbers,
    and 1 is not `true`.  Instances are immutable.

    `between_fields`: what a class checks of several fields together, as JSON Schemas for its documentation.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    between_fields: ClassVar[tuple[JsonSchemaValue, ...]] = ()

    def document(self) -> dict[str, object]:
        """Give the JSON document as it is stored and given back."""
        return self.model_dump(mode="json")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = _of_json(handler(source))
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A `name` that tells a class from others must be given, although an instance made in code has it already; and
        what has no key of a given pattern is refused."""
        document = handler.resolve_ref_schema(handler(schema))
        if "const" in document.get("properties", {}).get("name", {}):
            document["required"] = sorted({*document.get("required", ()), "name"})
        for field in document.get("properties", {}).values():
            for form in (field, *field.get("anyOf", ())):
                if "patternProperties" in form:  # of a dict whose keys have a pattern
                    form["additionalProperties"] = False
        if rules := [rule for base in cls.__mro__ for rule in vars(base).get("between_fields", ())]:
            document["allOf"] = rules
        return document


def either(*rules: JsonSchemaValue) -> JsonSchemaValue:
    """The JSON Schema of `between_fields`: each rule has schemas by field, of which all hold; one rule at least
    holds."""
    return {"anyOf": [{"properties": rule} for rule in rules]}


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold NUL characters")
    text.encode()  # a lone surrogate is a ValueError
    return text


def _bounded(document: dict[str, Any]) -> dict[str, Any]:
    _plain(document, MAX_DOCUMENT_DEPTH)
    if len(json.dumps(document)) > MAX_DOCUMENT_CHARS:
        raise ValueError(f"must not be longer than {MAX_DOCUMENT_CHARS} characters as JSON")
    return document


def _plain(value: Any, levels: int) -> None:
    if levels == 0:
        raise ValueError(f"must not be nested deeper than {MAX_DOCUMENT_DEPTH} levels")
    match value:
        case dict():
            for key, part in value.items():
                _plain(key, levels - 1)
                _plain(part, levels - 1)
        case list():
            for part in value:
                _plain(part, levels - 1)
        case str():
            _storable(value)
        case int() | float() if not abs(value) <= LARGEST_NUMBER:  # NaN compares false
            raise ValueError("must hold finite numbers of ordinary size only")


# PostgreSQL stores neither NUL nor lone surrogates
Text = Annotated[str, AfterValidator(_storable), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
FreeDocument = Annotated[
    dict[str, Any],
    AfterValidator(_bounded),
    Field(
        description=f"At most {MAX_DOCUMENT_CHARS:,} characters as JSON and {MAX_DOCUMENT_DEPTH} levels deep; no "
        "number is beyond ±2⁵³, and no text holds NUL."
    ),
]
NULL: JsonSchemaValue = {"type": "null"}
OBJECT: JsonSchemaValue = {"type": "object"}
DISTINCT = Field(json_schema_extra={"uniqueItems": True})
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
ObjectId = Annotated[str, Field(pattern=r"^[a-z]+_[0-9a-z]{4,40}$", max_length=64)]
