"""The functions behind the terms that a method can name: `build` in the module of the term's name."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from app.methods.terms import registry
from worker.terms.base import Setting, Term

TERMS: Mapping[str, Callable[[Any, Setting], Term]] = {
    name: importlib.import_module(f"worker.terms.{name}").build for name in registry.TERMS
}
