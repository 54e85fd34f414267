"""Methods and terms are found where they stand: each in a module of its own name, listed nowhere else."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def packages(package: ModuleType) -> Iterator[ModuleType]:
    """Import the packages directly within `package`, in the order of their names."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if module.ispkg:
            yield importlib.import_module(module.name)


def classes(package: ModuleType, base: type[T]) -> Iterator[type[T]]:
    """The subclasses of `base` that have an `info` of their own, from the modules directly within `package`."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            own = isinstance(value, type) and value.__module__ == module.name
            if own and issubclass(value, base) and "info" in vars(value):
                yield value


def name(kind: type) -> str:
    """The name of the module that defines `kind`."""
    return kind.__module__.rpartition(".")[2]
