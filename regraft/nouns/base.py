"""The base of all nouns: sending with retries, typed results, lists page by page, waiting."""

import uuid
from collections.abc import Callable, Generator, Mapping
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

import httpx
from pydantic import BaseModel

from regraft import errors
from regraft.steps import Awaiting, Blocking, Effect, Emit, Read, Send, Sleep, Steps, Stream
from regraft.wire import Request, Retry

D = TypeVar("D", bound=Blocking | Awaiting)
M = TypeVar("M", bound=BaseModel)
IN_FLIGHT = "idempotency_in_flight"
AGAIN = frozenset({429, 503})
WAIT_FIRST_S = 0.2
WAIT_CEILING_S = 2.0


class Noun(Generic[D]):
    """A resource of the service, on a driver; without state of its own."""

    def __init__(self, driver: D, retry: Retry) -> None:
        self._driver = driver
        self._retry = retry

    @property
    def driver(self) -> D:
        return self._driver

    def _send(self, request: Request, *, streamed: bool = False) -> Steps[httpx.Response]:
        """Sends, again where that is safe and may help.  A refusal is raised as `ApiError`."""
        for attempt in range(1, self._retry.attempts + 1):
            last = attempt == self._retry.attempts
            try:
                response: httpx.Response = yield Send(request, stream=streamed)
            except httpx.TransportError as error:
                if last or not (request.repeatable or isinstance(error, httpx.ConnectError)):
                    raise errors.Unreachable(f"{request.method} {request.path}: {_told(error)}") from error
                yield Sleep(self._retry.pause(attempt, None))
                continue
            if not response.is_error or _deleted_before(request, response, attempt):
                return response
            refusal = errors.refusal((yield from _whole(response)) if streamed else response)
            if last or not _may_help(request, refusal):
                raise refusal
            yield Sleep(self._retry.pause(attempt, refusal.retry_after_s))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _fetch(self, path: str, result: type[M], params: Mapping[str, Any] | None = None) -> Steps[M]:
        response = yield from self._send(Request("GET", path, repeatable=True, params=params))
        return result.model_validate_json(response.content)

    def _document(self, path: str, params: Mapping[str, Any] | None = None) -> Steps[dict[str, Any]]:
        response = yield from self._send(Request("GET", path, repeatable=True, params=params))
        document: dict[str, Any] = response.json()
        return document

    def _post(self, path: str, result: type[M], body: Mapping[str, Any], key: str | None = None) -> Steps[M]:
        """The Idempotency-Key, made here unless given, is what makes a second sending harmless."""
        response = yield from self._send(Request("POST", path, repeatable=True, json=body, headers=once(key)))
        return result.model_validate_json(response.content)

    def _delete(self, path: str, *, cascade: bool = False) -> Steps[None]:
        params = {"cascade": "true"} if cascade else None
        yield from self._send(Request("DELETE", path, repeatable=True, params=params))

    def _pages(self, path: str, item: type[M], params: Mapping[str, Any], page_size: int) -> Stream[M]:
        after: dict[str, Any] = {}
        while True:
            query = given(params) | {"limit": page_size} | after
            response = yield from self._send(Request("GET", path, repeatable=True, params=query))
            page = response.json()
            for entry in page["data"]:
                yield Emit(item.model_validate(entry))
            if not page.get("has_more"):
                return
            after = {"after": page["last_id"]}


class _Stepped(Protocol):
    """An object with a task behind it."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...


S = TypeVar("S", bound=_Stepped)


def waiting(
    fetch: Callable[[], Steps[S]],
    done: Callable[[S], bool],
    *,
    timeout_s: float | None,
    seen: Callable[[S], None] | None = None,
) -> Steps[S]:
    """Polls, ever more slowly, until `done`; raises `WaitTimeout`."""
    deadline = monotonic() + timeout_s if timeout_s is not None else None
    pause = WAIT_FIRST_S
    while True:
        found = yield from fetch()
        if seen:
            seen(found)
        if done(found):
            return found
        if deadline is not None and monotonic() + pause > deadline:
            raise errors.WaitTimeout(f"{found.id} is still {found.status} after {timeout_s:g} s")
        yield Sleep(pause)
        pause = min(WAIT_CEILING_S, pause * 1.3)


def pieces() -> Generator[Effect, Any, bytes]:
    """The rest of the streamed response."""
    content = b""
    while piece := (yield Read()):
        content += piece
    return content


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given: the rest has defaults in the service."""
    return {name: value for name, value in options.items() if value is not None}


def once(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def _whole(response: httpx.Response) -> Steps[httpx.Response]:
    content = yield from pieces()
    return httpx.Response(response.status_code, headers=_plain(response.headers), content=content)


def _plain(headers: httpx.Headers) -> dict[str, str]:
    """Drop the headers that described the body's transport: the bytes are decoded already."""
    return {name: value for name, value in headers.items() if name not in ("content-encoding", "transfer-encoding")}


def _deleted_before(request: Request, response: httpx.Response, attempt: int) -> bool:
    """An earlier sending of this DELETE did its work, and only its answer was lost."""
    return request.method == "DELETE" and attempt > 1 and response.status_code == 404


def _may_help(request: Request, refusal: errors.ApiError) -> bool:
    return request.repeatable and (refusal.status in AGAIN or refusal.code == IN_FLIGHT)


def _told(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
