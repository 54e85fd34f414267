"""The OpenAPI document: which refusals a route can give, and what the shapes alone do not say."""

import json
import re
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api import problems
from app.api.schemas.common import Problem
from app.core import errors
from app.core.errors import RegraftError

_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')
Responses = dict[int | str, dict[str, Any]]

TAGS = [
    {"name": "files", "description": "Any bytes, whole or in parts: weights, archives of images."},
    {
        "name": "checkpoints",
        "description": "Source models: uploaded, published by a library, or once adapted.",
    },
    {"name": "datasets", "description": "Images with labels, or without."},
    {"name": "recommendations", "description": "What to try on a dataset, before anything is trained."},
    {"name": "tournaments", "description": "Jobs that race on a dataset until one has won."},
    {"name": "sweeps", "description": "One job over and over, with parameters that a sampler draws."},
    {"name": "jobs", "description": "One adaptation each: a checkpoint, a dataset, a method."},
    {"name": "models", "description": "What jobs made: evaluation, weights, predictions."},
    {"name": "catalogue", "description": "What can be named: networks and methods."},
    {"name": "keys", "description": "API keys, for administrators."},
    {"name": "health", "description": "For whatever watches over the service; needs no key."},
]
ABOUT = (
    "Graft a trained network onto a new domain: send a source checkpoint and a target dataset, get an adapted model. "
    "Errors are `application/problem+json` with a stable `code`; lists share one envelope; every POST takes an "
    "`Idempotency-Key`."
)


def refusals(*kinds: type[RegraftError]) -> Responses:
    """The documentation of errors, by status."""
    sentences: dict[int, list[str]] = {}
    for kind in kinds:
        sentences.setdefault(kind.status, []).append(f"`{kind.code}`: {kind.title}")
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": "\n\n".join(lines), "content": {problems.MEDIA_TYPE: {"schema": schema}}}
        for status, lines in sentences.items()
    }


COMMON = refusals(
    errors.Unauthenticated,
    errors.Forbidden,
    errors.TooSlow,
    errors.Invalid,
    errors.RateLimited,
    errors.HeadTooLarge,
    errors.Unavailable,
    errors.Overloaded,
)
BODY = (errors.TooLarge, errors.UnsupportedMedia, errors.RequestInFlight, errors.Invalid, errors.IdempotencyMismatch)
"""What every POST of a JSON body can meet."""


_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
BYTES: dict[str, Any] = {"schema": _FILE}


def body(content: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Describe the body of a route that reads it by itself: schemas by media type.  Bytes that may be none are not
    `required`."""
    return {"requestBody": {"required": required, "content": content}}


def form(field: str, *, many: bool) -> dict[str, Any]:
    """A form with files under one name."""
    properties = {field: {"type": "array", "items": _FILE, "minItems": 1} if many else _FILE}
    closed = {"type": "object", "required": [field], "properties": properties, "additionalProperties": False}
    return {"schema": closed}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter in a query or a header, which may be left out, but has no way to be null."""
    forms = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    if len(forms) != 1 or len(forms) == len(schema["anyOf"]):
        return schema
    return {name: value for name, value in schema.items() if name != "anyOf"} | dict(forms[0])


def _named(paths: object, schemas: Mapping[str, object]) -> dict[str, object]:
    """The schemas that the paths name, or that those name: parts of a record that are not documented are none."""
    waiting, used = [paths], set[str]()
    while waiting:
        names = set(_REFERENCE.findall(json.dumps(waiting.pop()))) - used
        used |= names
        waiting += [schemas[name] for name in names]
    return {name: schema for name, schema in schemas.items() if name in used}


def describing(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Make the function that is to be `app.openapi`: it gives the document, made once.  That takes a second, which no
    event loop has."""
    turn = Lock()

    def openapi() -> dict[str, Any]:
        with turn:
            return made()

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=ABOUT, tags=TAGS, routes=app.routes
            )
            template = "#/components/schemas/{model}"
            schema = Problem.model_json_schema(ref_template=template)
            document["components"]["schemas"] |= schema.pop("$defs", {}) | {"Problem": schema}
            for path in document["paths"].values():
                for operation in path.values():
                    for parameter in operation.get("parameters", []):
                        parameter["schema"] = _without_null(parameter["schema"])
            document["components"]["schemas"] = _named(document["paths"], document["components"]["schemas"])
            app.openapi_schema = document
        return app.openapi_schema

    return openapi
