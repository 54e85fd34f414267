"""A visit: a browser's request, and its way to the API, which it asks in this very process by the session's cookie.

The page has no other way to the data: what it lacks, the API lacks.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from app.api.services import Services, ServicesDep
from app.core import errors
from app.core.settings import Settings
from app.keys import sessions
from app.keys.service import Identity, Scope
from app.keys.sessions import BrowserRequest
from app.page import form

if TYPE_CHECKING:
    import httpx  # a quarter of a second, for the first page to pay

FIELDS_BYTES = 2**20  # of a form, beside its file
WITHIN = "http://page"  # what the API is called within this process

Json = Mapping[str, Any]  # an object of the API


class SignedOut(Exception):
    """The browser has no session: it is shown where to begin one."""


class Refusal(Exception):
    """The API has refused; `problem` is what it said."""

    def __init__(self, problem: Json) -> None:
        self.problem = problem
        super().__init__(problem["detail"])


@dataclass(frozen=True)
class Visit:
    """`form` is what was sent, empty but for a POST; `token` stands in the address of every form of a page, see
    `sessions.require_own_page`."""

    request: Request
    http: "httpx.AsyncClient"
    identity: Identity
    form: FormData
    token: str

    def may(self, scope: Scope) -> bool:
        return scope in self.identity.scopes

    def text(self, name: str) -> str:
        """A field of the form, without blanks around it; empty where there is none."""
        value = self.form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    async def get(self, path: str, **params: object) -> Json:
        """
        Raises:
            Refusal: see `ask`.
        """
        known = {name: str(value) for name, value in params.items() if value is not None}
        return await self.ask(self.http.build_request("GET", path, params=known))

    async def post(self, path: str, body: Json | None = None) -> Json:
        """
        Raises:
            Refusal: see `ask`.
        """
        return await self.ask(self.http.build_request("POST", path, json=body))

    async def ask(self, request: "httpx.Request") -> Json:
        """The API's answer to a request of `http`; empty where it has none.

        Raises:
            Refusal: it has refused.
        """
        response = await self.http.send(request)
        if response.is_error:
            raise Refusal(response.json())
        answer: Json = response.json() if response.content else {}
        return answer


def visiting(most: Callable[[Settings], int], scope: Scope = "read") -> Callable[..., AsyncIterator[Visit]]:
    """A dependency of routes for keys with the scope, whose forms have at most so many bytes beside their fields.

    It raises SignedOut where the request has no session's cookie, or its session has ended; Refusal where the key has
    not the scope; CrossSite where a form does not come from a page of the session; and TooLarge.
    """

    async def visit(request: Request, services: ServicesDep) -> AsyncIterator[Visit]:
        import httpx

        cookie = request.cookies.get(sessions.COOKIE)
        if not cookie:
            raise SignedOut
        try:
            identity = await run_in_threadpool(_identify, services, cookie)
        except errors.Unauthenticated:
            raise SignedOut from None
        token = sessions.token(cookie)
        headers = {"Origin": WITHIN, sessions.TOKEN_HEADER: token, "Cookie": f"{sessions.COOKIE}={cookie}"}
        transport = httpx.ASGITransport(request.app, client=_peer(request))
        async with httpx.AsyncClient(base_url=WITHIN, headers=headers, transport=transport, timeout=None) as http:
            made = request.state.visit = Visit(request, http, identity, FormData(), token)
            if not made.may(scope):
                raise Refusal(_lacking(scope))
            if request.method == "POST":
                made = replace(made, form=await _form(request, cookie, most(services.settings)))
            yield made

    return visit


async def _form(request: Request, cookie: str, most: int) -> FormData:
    """The form of a request that is known to come from here before a byte of it is read: so its token is in the
    address."""
    origin, host = request.headers.get("Origin", ""), request.headers.get("Host", "")
    sessions.require_own_page(BrowserRequest(cookie, origin, host, request.query_params.get("token", "")))
    return await form.bounded(request, most + FIELDS_BYTES)


def _lacking(scope: Scope) -> Json:
    error = errors.Forbidden
    detail = f"This key does not carry the scope `{scope}`."
    return {"title": error.title, "status": error.status, "code": error.code, "detail": detail}


def _identify(services: Services, cookie: str) -> Identity:
    with services.database.reading() as db:
        return sessions.identify(db, cookie)


def _peer(request: Request) -> tuple[str, int]:
    return ("", 0) if request.client is None else (request.client.host, request.client.port)


VisitDep = Annotated[Visit, Depends(visiting(lambda settings: 0), scope="function")]
BringDep = Annotated[Visit, Depends(visiting(lambda settings: settings.max_file_bytes, "write"), scope="function")]
TryDep = Annotated[Visit, Depends(visiting(lambda settings: settings.max_predict_bytes, "predict"), scope="function")]
AdminDep = Annotated[Visit, Depends(visiting(lambda settings: 0, "admin"), scope="function")]
