"""Coming and going: a key becomes a session, and what pages are made with."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from app.api.services import ServicesDep
from app.core import errors
from app.keys import service as keys
from app.keys import sessions
from app.page import form, render
from app.page.visit import VisitDep

MOST_BYTES = 4096  # of the form with the key
STATIC = ("style.css", "page.js")

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def static(name: str) -> FileResponse:
    if name not in STATIC:
        raise errors.NotFound(f"There is nothing at /static/{name!a}.")
    return FileResponse(str(files("app.page") / "static" / name), headers={"Cache-Control": "no-cache"})


@router.get("/sign-in")
def sign_in(request: Request, next: str = "/") -> Response:
    return render.page("sign_in.html", request, next=_here(next), fault=None)


@router.post("/sign-in")
async def signed_in(request: Request, services: ServicesDep, next: str = "/") -> Response:
    """Forms come from this page alone, and have no more than a key: whoever has none may send anything."""
    sessions.require_own_origin(request.headers.get("Origin", ""), request.headers.get("Host", ""))
    key = str((await form.bounded(request, MOST_BYTES)).get("key", "")).strip()

    def begin() -> str:
        with services.database.reading() as db:
            identity = keys.authenticate(db, key)
        keys.spend(services.database, identity)
        with services.database.unit_of_work() as db:
            return sessions.begin(db, identity)

    try:
        cookie = await run_in_threadpool(begin)
    except errors.Unauthenticated as refusal:
        return render.page("sign_in.html", request, code=401, next=_here(next), fault=refusal.detail)
    response = RedirectResponse(_here(next), 303)
    secure = request.url.scheme == "https"
    response.set_cookie(
        sessions.COOKIE, cookie, int(sessions.LIFETIME_S), httponly=True, samesite="strict", secure=secure
    )
    return response


@router.post("/sign-out")
async def signed_out(visit: VisitDep, services: ServicesDep) -> Response:
    def end() -> None:
        with services.database.unit_of_work() as db:
            sessions.end(db, visit.request.cookies[sessions.COOKIE])

    await run_in_threadpool(end)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(sessions.COOKIE)
    return response


def _here(path: str) -> str:
    """The path, if it is one of this server; else its first page."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
