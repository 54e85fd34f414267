"""The page: what the service has and does, as HTML that reads without a script."""

from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from app.page import doing, render, seeing, signing
from app.page.visit import Refusal, SignedOut


def install(app: FastAPI) -> None:
    for part in (signing, doing, seeing):  # `/jobs/new` before any job
        app.include_router(part.router)
    app.add_exception_handler(SignedOut, _signed_out)
    app.add_exception_handler(Refusal, _refused)


async def _signed_out(request: Request, error: Exception) -> Response:
    asked = request.url.path if request.method == "GET" else "/"
    if request.method == "GET" and request.url.query:
        asked += f"?{request.url.query}"
    return RedirectResponse("/sign-in" + ("" if asked == "/" else "?" + urlencode({"next": asked})), 303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    seen_by = getattr(request.state, "visit", request)
    return render.page("refused.html", seen_by, code=int(error.problem["status"]), problem=error.problem, live=False)
