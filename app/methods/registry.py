"""The methods that a job can name, found in the packages of their families."""

import functools
import operator
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

import app.methods
from app.methods import discovery
from app.methods.base import Method

METHODS: Mapping[str, type[Method]] = {
    discovery.name(method): method
    for method in sorted(
        (method for family in discovery.packages(app.methods) for method in discovery.classes(family, Method)),
        key=lambda method: (method.info.order, discovery.name(method)),
    )
}

_EACH: Any = functools.reduce(operator.or_, METHODS.values())
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


AnyMethod = Annotated[Method, _OneValidator]


def parse(document: Mapping[str, Any]) -> Method:
    """The parameters that a stored document holds."""
    return _METHOD.validate_python(document)
