"""The caller of a route, and the frame of a call: authenticated before its body is read, one transaction, once."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from app.api import problems
from app.api.services import ServicesDep
from app.core import errors
from app.db.session import Database
from app.keys import service as keys
from app.keys import sessions
from app.keys.service import Identity, Scope
from app.keys.sessions import BrowserRequest
from app.queue import policy
from app.requests import service as requests
from app.requests.service import Answer

T = TypeVar("T")
KEYED = ("/v1/", "/v2/models/")  # paths that ask for a key
SAFE = ("GET", "HEAD", "OPTIONS")  # methods that change nothing
MOST_REPEATED = 16 * 1024  # bytes of an answer without effect that are stored for a request sent again


class Authentication:
    """Answers 401 to whoever has no valid key and no session begun with one, and 429 where it has asked too often, from
    the headers alone: not a byte of the body has been read."""

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self._app, self._database = app, database

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        if connection["type"] == "http" and f"{connection['path']}/".startswith(KEYED):
            request = Request(connection)
            try:
                request.state.identity = await run_in_threadpool(self._identify, request)
            except errors.RegraftError as error:
                await problems.answer(error, path=connection["path"])(connection, receive, send)
                return
        await self._app(connection, receive, send)

    def _identify(self, request: Request) -> Identity:
        header, cookie = request.headers.get("Authorization"), request.cookies.get(sessions.COOKIE)
        with self._database.reading() as db:
            if header is None and cookie:
                if request.method not in SAFE:
                    sessions.require_own_page(_asked(request, cookie))
                identity = sessions.identify(db, cookie)
            else:
                identity = keys.authenticate(db, bearer(header or ""))
        keys.spend(self._database, identity)
        return identity


def _asked(request: Request, cookie: str) -> BrowserRequest:
    headers = request.headers
    told = (headers.get(name, "") for name in ("Origin", "Host", sessions.TOKEN_HEADER))
    return BrowserRequest(cookie, *told)


def bearer(header: str) -> str:
    """The key in an Authorization header.

    Raises:
        Unauthenticated: there is none.
    """
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer":
        raise errors.Unauthenticated
    return text.strip()


def require(identity: Identity, scope: Scope) -> None:
    """
    Raises:
        Forbidden: the key was not made for this.
    """
    if scope not in identity.scopes:
        raise errors.Forbidden(f"This key does not carry the scope `{scope}`.")


@dataclass(frozen=True)
class Caller:
    """The owner of a valid key with the scope that the route asks for; each of its verbs is one transaction."""

    owner: str
    key_id: str
    database: Database

    def reads(self, look: Callable[[Session], T]) -> T:
        with self.database.reading() as db:
            return look(db)

    def writes(self, act: Callable[[Session], T]) -> T:
        """Committed before it returns."""
        with self.database.unit_of_work() as db:
            return act(db)


@dataclass(frozen=True)
class Sender(Caller):
    """The caller of a POST with its Idempotency-Key, and what has to be the same when it comes again."""

    key: str | None
    fingerprint: str
    status: int
    most_tasks: int = 0

    def queues(self, act: Callable[[Session], BaseModel]) -> Response:
        """`once`, for what queues a job or a question: refused where the owner has as many as it may."""

        def within(db: Session) -> BaseModel:
            answer = act(db)
            policy.require_room(db, self.owner, self.most_tasks)
            return answer

        return self.once(within)

    def once(
        self,
        act: Callable[[Session], BaseModel | bytes],
        *,
        of: str = "",
        effect: bool = True,
        kept: Callable[[Any], BaseModel] | None = None,
    ) -> Response:
        """Answer with what `act` gives, in the transaction of its effect; a request sent again gets the first answer,
        without a second effect.

        `of` tells apart the bodies that a route read by itself.  Of a request without `effect` a large answer is not
        stored: sent again, it is answered anew; and where it has no key, nothing is written, so that it only reads and
        waits for no writer.  `kept` makes the answer fit to be stored.
        """
        if self.key is None and not effect:
            return Response(_json(self.reads(act)), self.status, media_type="application/json")
        with self.database.unit_of_work() as db:
            if self.key and (first := requests.claim(db, self.owner, self.key, _sha256(self.fingerprint, of))):
                return Response(first.body, first.status, {"Idempotent-Replayed": "true"}, "application/json")
            answer = act(db)
            if self.key and (effect or len(_json(answer)) <= MOST_REPEATED):
                stored = _json(kept(answer) if kept else answer).decode()
                requests.remember(db, self.owner, self.key, Answer(self.status, stored))
        return Response(_json(answer), self.status, media_type="application/json")


def _json(answer: BaseModel | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.model_dump_json().encode()


def _sha256(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        piece = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(piece)}:".encode() + piece)
    return digest.hexdigest()


_scheme = HTTPBearer(auto_error=False, scheme_name="API key", description="`Authorization: Bearer <key>`")
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
        description="Makes it safe to send the request again: it gets the first answer, and has no second effect.  "
        "With another body, path or query it is refused.",
    ),
]


def _calling(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    async def caller(
        request: Request, services: ServicesDep, _: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
    ) -> Caller:
        identity: Identity = request.state.identity
        require(identity, scope)
        return Caller(identity.owner, identity.key, services.database)

    return caller


def _sending(scope: Scope, *, streamed: bool) -> Callable[..., AsyncIterator[Sender]]:
    """`streamed`: the route reads the body by itself."""

    async def sender(
        request: Request,
        services: ServicesDep,
        caller: Annotated[Caller, Depends(_calling(scope))],
        key: IdempotencyKey = None,
    ) -> AsyncIterator[Sender]:
        body = b"" if streamed else await request.body()
        fingerprint = _sha256(request.method, request.url.path, request.url.query, body) if key else ""
        status = request.scope["route"].status_code or 200
        most_tasks = services.settings.max_owner_tasks
        sender = Sender(caller.owner, caller.key_id, caller.database, key, fingerprint, status, most_tasks)
        if key is None:
            yield sender
            return
        flight = (caller.owner, key)
        if flight in services.in_flight:
            raise errors.RequestInFlight(retry_after_s=1)
        services.in_flight.add(flight)
        try:
            yield sender
        finally:
            services.in_flight.discard(flight)

    return sender


Reader = Annotated[Caller, Depends(_calling("read"))]
Writer = Annotated[Caller, Depends(_calling("write"))]
Guest = Annotated[Caller, Depends(_calling("predict"))]
Admin = Annotated[Caller, Depends(_calling("admin"))]
Asker = Annotated[Sender, Depends(_sending("read", streamed=False), scope="function")]
Poster = Annotated[Sender, Depends(_sending("write", streamed=False), scope="function")]
Uploader = Annotated[Sender, Depends(_sending("write", streamed=True), scope="function")]
Predictor = Annotated[Sender, Depends(_sending("predict", streamed=True), scope="function")]
Administrator = Annotated[Sender, Depends(_sending("admin", streamed=False), scope="function")]
