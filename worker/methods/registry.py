"""The functions behind the methods that a job can name: `run`, in the module of the path that the parameters have.

The parameters of `app.methods.<family>.<name>` are carried out by `worker.methods.<family>.<name>`.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from app.methods import registry
from worker.methods.task import Adapted, Task

METHODS: Mapping[str, Callable[[Task, Any], Adapted]] = {
    name: importlib.import_module(params.__module__.replace("app.", "worker.", 1)).run
    for name, params in registry.METHODS.items()
}
