"""Request bodies: of the right type, capped by their announced length and again as they arrive, and no more of them in
memory than there is room for."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.api import problems
from app.api.shares import Shares
from app.core import errors

LARGE = 16 * 1024  # bytes of JSON that the event loop does not wait for


def media_type(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def announced(request: Request) -> int:
    """Content-Length; 0 for a body that comes in chunks."""
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else 0


class Room:
    """Memory for the bodies of requests: `most_bytes` of them, counted as they arrive, whatever they announce, and
    `most` that are arriving.  Owners share both."""

    def __init__(self, most_bytes: int, most: int) -> None:
        self._bytes, self._arriving = Shares(most_bytes), Shares(most)

    @contextmanager
    def held(self, owner: str) -> Iterator["Held"]:
        """Room for the body of one request; what it takes is given back in the end."""
        held = Held(self._bytes, owner)
        try:
            yield held
        finally:
            held.release()

    @contextmanager
    def arriving(self, owner: str) -> Iterator[None]:
        """
        Raises:
            Overloaded: too many bodies are on their way.
        """
        if not self._arriving.take(owner):
            raise errors.Overloaded("Too many requests of yours are under way.", retry_after_s=1)
        try:
            yield
        finally:
            self._arriving.give_back(owner)


class Held:
    """The bytes of one body that are in memory: as many as its owner's share allows, and more where no other body is
    there."""

    def __init__(self, shares: Shares, owner: str) -> None:
        self._shares, self.owner = shares, owner
        self._size = 0

    def add(self, size: int) -> None:
        """
        Raises:
            Overloaded: there is no room for so much more.
        """
        if self._shares.used == self._size:
            self._shares.take_anyway(self.owner, size)
        elif not self._shares.take(self.owner, size):
            raise errors.Overloaded("Too many bytes of yours are under way.", retry_after_s=1)
        self._size += size

    def release(self) -> None:
        self._shares.give_back(self.owner, self._size)
        self._size = 0


async def capped(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body, piece by piece.

    Raises:
        TooLarge: it has more than `limit` bytes; at once where it says so itself.
        Overloaded: too many bodies are on their way.
    """
    _require_at_most(limit, announced(request))
    size = 0
    with request.app.state.services.room.arriving(request.state.identity.owner):
        async for piece in request.stream():
            size += len(piece)
            _require_at_most(limit, size)
            yield piece


async def held(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body, piece by piece, of a request that stays in memory until it is answered.

    Raises:
        Overloaded: there is no room for it.
    """
    async for piece in capped(request, limit):
        request.state.held.add(len(piece))
        yield piece


async def received(receive: Receive, limit: int, announced: int, room: Room, held: Held) -> bytes:
    """The whole body from a bare ASGI connection; `announced` is its Content-Length, 0 if it has none.

    Raises:
        TooLarge, Overloaded: see `held`.
        ClientDisconnect: the connection broke before the body was there.
    """
    _require_at_most(limit, announced)
    pieces, size, more = [], 0, True
    with room.arriving(held.owner):
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            _require_at_most(limit, size)
            held.add(len(pieces[-1]))
            more = message.get("more_body", False)
    return b"".join(pieces)


def _require_at_most(limit: int, size: int) -> None:
    if size > limit:
        raise errors.TooLarge(f"The body is larger than the {limit:,} bytes that are taken here.")


async def whole(request: Request, limit: int) -> bytes:
    """
    Raises:
        TooLarge, Overloaded: see `held`.
    """
    return b"".join([piece async for piece in held(request, limit)])


class Route(APIRoute):
    """Reads a JSON body before FastAPI does, which neither caps it nor refuses NaN or another media type; and tells
    whoever polls, by ETag, when nothing has changed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        form: TypeAdapter[Any] | None = None
        if self.body_field is not None:
            field = self.body_field.field_info
            kind: Any = Annotated[field.annotation, field]
            form = TypeAdapter(kind)

        async def handler(request: Request) -> Response:
            ours = _CappedRequest(request.scope, request.receive)
            with request.app.state.services.room.held(request.state.identity.owner) as ours.state.held:
                if form is not None:
                    await ours.read(form)
                return unless_known(request, await handle(ours))

        return handler


def unless_known(request: Request, answer: Response) -> Response:
    """The answer to a GET with its digest as ETag (RFC 9110, section 8.8.3), or 304 where the caller has it already."""
    if request.method != "GET" or answer.status_code != 200 or not hasattr(answer, "body") or "ETag" in answer.headers:
        return answer
    tag = f'"{hashlib.blake2b(answer.body, digest_size=16).hexdigest()}"'
    kept = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if known(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=kept)
    answer.headers.update(kept)
    return answer


def known(tags: str, tag: str) -> bool:
    """Tell whether `tag` is among the `tags` of an If-Match or If-None-Match header."""
    return tags.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in tags.split(","))


class _CappedRequest(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await whole(self, self.app.state.services.settings.max_body_bytes)
        return self._body

    async def read(self, form: TypeAdapter[Any]) -> None:
        """Parse the body, and a large one in a thread into its `form`, too, which takes longer."""
        body, kind = await self.body(), media_type(self)
        self._json = await run_in_threadpool(_formed, body, kind, form) if len(body) > LARGE else _parsed(body, kind)

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = _parsed(await self.body(), media_type(self))
        return self._json


def _parsed(body: bytes, kind: str) -> Any:
    if not body:
        return None
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise errors.UnsupportedMedia(f"The body is to be application/json, not {kind or 'of no type'}.")
    try:
        return orjson.loads(body)  # refuses NaN, lone surrogates, and what is nested without end
    except orjson.JSONDecodeError as error:
        fault = f"The body is no JSON: {error}"
        raise errors.Invalid(fault, errors=[{"param": "", "detail": fault, "code": "json_invalid"}]) from None


def _formed(body: bytes, kind: str, form: TypeAdapter[Any]) -> Any:
    """
    Raises:
        Invalid: with a list of the faults, unless there are very many: to list them takes far longer than to find them.
    """
    parsed = _parsed(body, kind)
    try:
        return form.validate_python(parsed, from_attributes=True)
    except ValidationError as error:
        if error.error_count() > problems.MAX_FAULTS:
            raise errors.Invalid(f"The body has {error.error_count():,} faults: too many to list.") from None
        faults = error.errors(include_url=False, include_context=False)
        raise problems.invalid([{**fault, "loc": ("body", *fault["loc"])} for fault in faults], parsed) from None
