"""Every call is written once, as a generator of effects; a blocking and an awaiting driver perform them.

A call yields what is to be done (`Send`, `Read`, `Sleep`, `Do`, `Emit`) and is sent the outcome.  `call` and `items`
turn such a generator method into an ordinary method of `Client`, and into a coroutine or an asynchronous iterator of
`AsyncClient`, with the same signature and full types.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial, update_wrapper, wraps
from time import sleep
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import anyio
import anyio.to_thread
import httpx

from regraft.wire import Body, Request

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Send:
    """Gives the `httpx.Response`, read whole unless `stream`; raises `httpx.TransportError`."""

    request: Request
    stream: bool = False


@dataclass(frozen=True)
class Read:
    """Gives the next bytes of the response last streamed; `b""` at its end."""


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Do:
    """Gives what `work` returns; for what takes long enough to hold up an event loop."""

    work: Callable[[], Any]


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hands an item to whoever iterates."""

    item: T


Effect = Send | Read | Sleep | Do
Steps = Generator[Effect, Any, T]
Stream = Generator[Effect | Emit[T], Any, None]


def _once(steps: Steps[T]) -> Stream[T]:
    yield Emit((yield from steps))


class Blocking:
    """Performs effects on `httpx.Client`."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def run(self, steps: Steps[T]) -> T:
        with closing(self.iterate(_once(steps))) as items:
            return next(items)

    def iterate(self, steps: Stream[T]) -> Generator[T, None, None]:
        action: Callable[[], Effect | Emit[T]] = partial(next, steps)
        with closing(steps), closing(_BlockingRun(self.http)) as run:
            while True:
                try:
                    effect = action()
                except StopIteration:
                    return
                if isinstance(effect, Emit):
                    yield effect.item
                    action = partial(next, steps)
                    continue
                try:
                    outcome = run.perform(effect)
                except httpx.TransportError as error:
                    action = partial(steps.throw, error)
                else:
                    action = partial(steps.send, outcome)


class Awaiting:
    """Performs effects on `httpx.AsyncClient`, under asyncio or trio."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def run(self, steps: Steps[T]) -> T:
        async with aclosing(self.iterate(_once(steps))) as items:
            return await anext(items)

    async def iterate(self, steps: Stream[T]) -> AsyncGenerator[T, None]:
        action: Callable[[], Effect | Emit[T]] = partial(next, steps)
        with closing(steps):
            async with aclosing(_AwaitingRun(self.http)) as run:
                while True:
                    try:
                        effect = action()
                    except StopIteration:
                        return
                    if isinstance(effect, Emit):
                        yield effect.item
                        action = partial(next, steps)
                        continue
                    try:
                        outcome = await run.perform(effect)
                    except httpx.TransportError as error:
                        action = partial(steps.throw, error)
                    else:
                        action = partial(steps.send, outcome)


class _BlockingRun:
    """The one response that a run may hold open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request, stream):
                self.close()
                built = build(self._http, request, iter)
                response = self._http.send(built, stream=stream)
                self._response, self._chunks = response, response.iter_bytes() if stream else iter(())
                return response
            case Read():
                return next(self._chunks, b"")
            case Sleep(seconds):
                sleep(seconds)
            case Do(work):
                return work()
        return None

    def close(self) -> None:
        if self._response is not None:
            self._response.close()


class _AwaitingRun:
    """The one response that a run may hold open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request, stream):
                await self.aclose()
                built = build(self._http, request, aiter)
                response = await self._http.send(built, stream=stream)
                self._response, self._chunks = response, response.aiter_bytes() if stream else None
                return response
            case Read():
                return await anext(self._chunks, b"") if self._chunks else b""
            case Sleep(seconds):
                await anyio.sleep(seconds)
            case Do(work):
                return await anyio.to_thread.run_sync(work)
        return None

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()


def build(http: httpx.Client | httpx.AsyncClient, request: Request, chunks: Callable[[Body], Any]) -> httpx.Request:
    """`chunks` is `iter` or `aiter`: each sending reads a streamed body anew."""
    content = chunks(request.content) if isinstance(request.content, Body) else request.content
    timeout = httpx.USE_CLIENT_DEFAULT if request.timeout is None else httpx.Timeout(request.timeout)
    return http.build_request(
        request.method,
        request.path,
        params=request.params,
        headers=request.headers,
        json=request.json,
        content=content,
        files=request.files,
        timeout=timeout,
    )


D_co = TypeVar("D_co", bound=Blocking | Awaiting, covariant=True)


class Driven(Protocol[D_co]):
    """A holder of a driver: the base of the resource nouns."""

    @property
    def driver(self) -> D_co: ...


class call(Generic[P, T]):
    """A method written as `Steps`: returns its result, or a coroutine of it."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.steps = steps
        update_wrapper(cast(Callable[..., Any], self), steps)

    @overload
    def __get__(self, noun: Driven[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, noun: Driven[Awaiting], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, noun: Any, owner: type) -> Any:
        return self if noun is None else _bound(self.steps, noun, noun.driver.run)


class items(Generic[P, T]):
    """A method written as `Stream`: an iterator, or an asynchronous one."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        self.steps = steps
        update_wrapper(cast(Callable[..., Any], self), steps)

    @overload
    def __get__(self, noun: Driven[Blocking], owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, noun: Driven[Awaiting], owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, noun: Any, owner: type) -> Any:
        return self if noun is None else _bound(self.steps, noun, noun.driver.iterate)


def _bound(steps: Callable[..., Any], noun: Any, drive: Callable[[Any], Any]) -> Callable[..., Any]:
    @wraps(steps)
    def bound(*args: Any, **options: Any) -> Any:
        return drive(steps(noun, *args, **options))

    return bound
