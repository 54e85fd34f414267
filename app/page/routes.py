"""The page: what the service has and does, as HTML that reads without a script."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from app.core.errors import RegraftError
from app.page import doing, render, seeing, signing
from app.page.visit import Refusal, SignedOut

OF_THE_API = ("/v1/", "/v2/")
Handler = Callable[[Request, Exception], Awaitable[Response]]


def install(app: FastAPI) -> None:
    for part in (signing, doing, seeing):  # `/jobs/new` before any job
        app.include_router(part.router)
    app.add_exception_handler(SignedOut, _signed_out)
    app.add_exception_handler(Refusal, _refused)
    for kind in (RegraftError, HTTPException):
        app.add_exception_handler(kind, _readable(app.exception_handlers[kind]))


def _readable(answer: Any) -> Handler:
    """Refuses as `answer` does, but by a page where a browser asked for one."""

    async def handler(request: Request, error: Exception) -> Response:
        refused: Response = await answer(request, error)
        if request.url.path.startswith(OF_THE_API) or "text/html" not in request.headers.get("Accept", ""):
            return refused
        problem = json.loads(bytes(refused.body))
        seen_by = getattr(request.state, "visit", request)
        return render.page("refused.html", seen_by, code=refused.status_code, problem=problem, live=False)

    return handler


async def _signed_out(request: Request, error: Exception) -> Response:
    asked = request.url.path if request.method == "GET" else "/"
    if request.method == "GET" and request.url.query:
        asked += f"?{request.url.query}"
    return RedirectResponse("/sign-in" + ("" if asked == "/" else "?" + urlencode({"next": asked})), 303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    seen_by = getattr(request.state, "visit", request)
    return render.page("refused.html", seen_by, code=int(error.problem["status"]), problem=error.problem, live=False)
