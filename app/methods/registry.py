"""The methods that a job can name, found in the packages of their families."""

import functools
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter

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

if TYPE_CHECKING:
    AnyMethod = Method
else:
    AnyMethod = Annotated[functools.reduce(operator.or_, METHODS.values()), Field(discriminator="name")]

_METHOD: TypeAdapter[Method] = TypeAdapter(AnyMethod)


def parse(document: Mapping[str, Any]) -> Method:
    """The parameters that a stored document holds."""
    return _METHOD.validate_python(document)
