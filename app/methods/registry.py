"""The methods that a job can name, found in the packages of their families."""

import functools
import importlib
import operator
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter

import app.methods
from app.methods.base import Method


def _modules() -> Iterator[ModuleType]:
    for family in pkgutil.iter_modules(app.methods.__path__, "app.methods."):
        if family.ispkg:
            package = importlib.import_module(family.name)
            for module in pkgutil.iter_modules(package.__path__, f"{family.name}."):
                yield importlib.import_module(module.name)


def _methods(module: ModuleType) -> Iterator[type[Method]]:
    """Classes that `module` defines, with an `info` of their own: none where it is what a family shares, else one."""
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and issubclass(value, Method) and "info" in vars(value):
            yield value


def _name(method: type[Method]) -> str:
    return method.__module__.rpartition(".")[2]


METHODS: Mapping[str, type[Method]] = {
    _name(method): method
    for method in sorted(
        (method for module in _modules() for method in _methods(module)),
        key=lambda method: (method.info.order, _name(method)),
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
