"""What of the OpenAPI document was agreed on: new methods and terms add their own entries to it."""

import json
import re
from collections.abc import Set
from typing import Any

from app.methods import registry as methods
from app.methods.terms import registry as terms

REFERENCE = "#/components/schemas/"
OF_METHODS_AND_TERMS = {one.__name__ for one in (*methods.METHODS.values(), *terms.TERMS.values())}


def without_new(document: dict[str, Any], agreed: dict[str, Any]) -> dict[str, Any]:
    """The document without what methods and terms brought that are newer than what was agreed on."""
    kept = agreed["components"]["schemas"].keys()
    return without(document, OF_METHODS_AND_TERMS - kept, kept)


def without(document: dict[str, Any], names: Set[str], kept: Set[str] = frozenset()) -> dict[str, Any]:
    """The document without these schemas: they are no choice anywhere, and what they alone refer to is not there.

    Schemas that are `kept` stay, whoever refers to them.
    """
    rest: dict[str, Any] = _without(document, {f"{REFERENCE}{name}" for name in names})
    schemas = {name: schema for name, schema in rest["components"]["schemas"].items() if name not in names}
    kept = kept | _referred(rest["paths"], schemas)
    schemas = {name: schema for name, schema in schemas.items() if name in kept}
    return rest | {"components": rest["components"] | {"schemas": schemas}}


def _without(part: Any, references: Set[str]) -> Any:
    """Without choices among schemas, and their names, that lead to one of these; other references stay."""
    if isinstance(part, dict):
        return {
            key: {name: to for name, to in value.items() if str(to) not in references}
            if key == "mapping" and isinstance(value, dict)
            else _without(value, references)
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [_without(one, references) for one in part if one not in [{"$ref": to} for to in references]]
    return part


def _referred(paths: Any, schemas: dict[str, Any]) -> set[str]:
    """Names of the schemas that the paths lead to."""
    names: set[str] = set()
    waiting = [paths]
    while waiting:
        for name in set(re.findall(f'"{REFERENCE}([^"]+)"', json.dumps(waiting.pop()))) - names:
            names.add(name)
            waiting.append(schemas.get(name))
    return names
