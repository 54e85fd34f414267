"""Every refusal as `application/problem+json` (RFC 9457), with a stable code."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.schemas.common import Problem
from app.core import errors
from app.core.errors import Detail, RegraftError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 100
PROTOCOL = "/v2/"

_FRAMEWORK = {error.status: error for error in (errors.BadRequest, errors.NotFound, errors.NotAllowedHere)}


def install(app: FastAPI) -> None:
    app.add_exception_handler(RegraftError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unforeseen)


def answer(error: RegraftError, headers: Mapping[str, str] | None = None, *, path: str = "") -> Response:
    """The problem; under `/v2` with its sentence as `error`, too, where the Open Inference Protocol has it."""
    if error.__cause__ is not None:
        log.warning("%s: %s", error.detail, error.__cause__)
    problem = Problem(
        type=f"urn:regraft:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.code,
        param=error.param,
        errors=error.errors or None,
    )
    document = problem.model_dump(mode="json", exclude_none=True)
    if path.startswith(PROTOCOL):
        document["error"] = error.detail
    return Response(
        orjson.dumps(document),
        status_code=error.status,
        headers=dict(headers or {}) | _headers(error),
        media_type=MEDIA_TYPE,
    )


def _headers(error: RegraftError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None or error.status in (429, 503):
        headers["Retry-After"] = str(error.retry_after_s or 1)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, RegraftError)
    return answer(error, path=request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(invalid(error.errors(), error.body))


async def _framework(request: Request, error: Exception) -> Response:
    """Answer what routing refuses: no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    refusal = _FRAMEWORK.get(error.status_code, RegraftError)
    if refusal is errors.NotFound:
        return answer(refusal(f"There is nothing at {request.url.path}."))
    return answer(refusal(), dict(error.headers or {}) | await run_in_threadpool(_allow, request))


def _allow(request: Request) -> dict[str, str]:
    """All methods of the path: the framework names those of one route of it."""
    path = request.scope["route"].path if "route" in request.scope else ""
    methods = request.app.openapi()["paths"].get(path, {})
    return {"Allow": ", ".join(sorted(map(str.upper, methods)))} if methods else {}


async def _disconnected(request: Request, error: Exception) -> Response:
    return answer(errors.BadRequest("The connection broke before the body was there."))


async def _unforeseen(request: Request, error: Exception) -> Response:
    """The server logs it with its traceback; whoever called learns nothing of our insides."""
    return answer(RegraftError())


def invalid(faults: Sequence[Mapping[str, Any]], body: Any) -> errors.Invalid:
    """Pydantic's faults of a request as ours; its sentence and `param` are those of the first."""
    details = [_detail(fault, body) for fault in faults[:MAX_FAULTS]]
    first = details[0]
    sentence = f"{first['param']}: {first['detail']}." if first["param"] else f"{first['detail']}."
    return errors.Invalid(sentence, param=first["param"] or None, errors=details)


def _detail(fault: Mapping[str, Any], body: Any) -> Detail:
    place, *path = fault["loc"]
    names = _path(path, body, missing=fault["type"] == "missing") if place == "body" else path
    sentence = str(fault["msg"]).removeprefix("Value error, ")
    return {"param": ".".join(map(str, names)), "detail": sentence, "code": fault["type"]}


def _path(path: Sequence[str | int], body: Any, *, missing: bool) -> Iterator[str | int]:
    """The place of a fault in the body: Pydantic's path without the names of the alternatives that it tried."""
    for at, name in enumerate(path):
        if _holds(body, name):
            yield name
            body = body[name]
        elif missing and at == len(path) - 1:
            yield name


def _holds(body: Any, name: str | int) -> bool:
    if isinstance(name, int):
        return isinstance(body, list) and name < len(body)
    return isinstance(body, dict) and name in body
