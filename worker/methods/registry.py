"""The functions behind the methods that a job can name: of the method's name, in the module of the same family."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from app.methods import registry
from worker.methods.task import Adapted, Task

METHODS: Mapping[str, Callable[[Task, Any], Adapted]] = {
    name: getattr(importlib.import_module(method.__module__.replace("app.", "worker.", 1)), name)
    for name, method in registry.METHODS.items()
}
