"""The methods that a job can name: those of the families' packages, and `auto`, which chooses among them."""

import functools
import operator
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

import app.methods
from app.methods import discovery
from app.methods.auto import Auto
from app.methods.base import Method

METHODS: Mapping[str, type[Method]] = {
    discovery.name(method): method
    for method in sorted(
        (method for family in discovery.packages(app.methods) for method in discovery.classes(family, Method)),
        key=lambda method: (method.info.order, discovery.name(method)),
    )
}

AUTO = discovery.name(Auto)
OFFERED: Mapping[str, type[Method]] = {AUTO: Auto, **METHODS}

_EACH: Any = functools.reduce(operator.or_, OFFERED.values())
_METHOD: TypeAdapter[Method] = TypeAdapter(Annotated[_EACH, Field(discriminator="name")])


class _OneValidator:
    """Lets every model that holds a method ask the one validator that there is: to build another of forty methods takes
    a third of a second, at each start of the API."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_METHOD.validate_python)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(_METHOD.core_schema)


class _NotAuto(_OneValidator):
    """Refuses `auto`: it is a job of its own, and no part of anything else."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_run_by_workers)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        each = handler(_METHOD.core_schema)
        left_out = each["discriminator"]["mapping"].pop(AUTO)
        each["oneOf"] = [one for one in each["oneOf"] if one["$ref"] != left_out]
        return each


def _run_by_workers(document: object) -> Method:
    method = _METHOD.validate_python(document)
    if method.delegates:
        raise ValueError("`auto` is a job of its own: submit it as one")
    return method


OfferedMethod = Annotated[Method, _OneValidator]
AnyMethod = Annotated[Method, _NotAuto]


def parse(document: Mapping[str, Any]) -> Method:
    """The parameters that a stored document holds."""
    return _METHOD.validate_python(document)
