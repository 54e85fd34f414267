"""Connections within bounds, key or no key: the size of a request's head and the time it takes, the speed of its body,
and how many connections there are.

uvicorn itself bounds none of these: one client could fill the memory with header lines, or hold a connection for ever.
"""

import asyncio
import resource
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api import problems
from app.api.headers import guards
from app.core import errors
from app.core.errors import RegraftError

TICK_S = 1.0
PIECE = 16 * 1024  # bytes of a head that are parsed at a time
PIPELINED = 16  # requests that may come ahead of their answers
DRAIN = 60  # ticks for what is left of a body when its request is answered already
FLUSH = 120  # ticks for a client to take the last of an answer, once the connection is to close
KEPT_FILES = 512  # file descriptors for all but connections


@dataclass(frozen=True)
class Limits:
    """`head_bytes`: the request line and all headers, together.  A body may pause for `body_s`, and has to come with
    `body_bytes_s` at least, as a mean over the same time."""

    connections: int = 4096
    head_bytes: int = 64 * 1024
    headers: int = 100
    head_s: float = 10
    body_s: float = 20
    body_bytes_s: float = 1024


class Connections:
    """All that a process has: none is forgotten, and where there is no room for another, the one gives way that has
    waited longest for a request, of the address that has the most.

    Times are counted in ticks, not by a clock: a process that was stopped for a while blames nobody for it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: dict[Bounded, str] = {}  # each with its address
        self._addresses: Counter[str] = Counter()
        self._ticking: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: "Bounded", address: str) -> bool:
        """Tell whether there is room for the connection, made if need be."""
        if len(self._open) >= self.limits.connections and not self._make_room():
            return False
        self._open[connection] = address
        self._addresses[address] += 1
        if self._ticking is None:
            self._ticking = connection.loop.call_later(TICK_S, self._tick, connection.loop)
        return True

    def leave(self, connection: "Bounded") -> None:
        address = self._open.pop(connection, None)
        if address is not None:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def _make_room(self) -> bool:
        idle = [one for one in self._open if one.idle]
        if not idle:
            return False
        victim = max(idle, key=lambda one: (self._addresses[self._open[one]], one.waited))
        self.leave(victim)
        victim.transport.abort()
        return True

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self._open):
            connection.tick()
        self._ticking = loop.call_later(TICK_S, self._tick, loop) if self._open else None


def room(most: int) -> int:
    """The number of connections that the system lets this process have: `most` if it does; raises its limit of open
    files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + KEPT_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(16, min(most, soft - KEPT_FILES))


class _Stage(Enum):
    HEAD = auto()  # of a request that is to come, or has begun
    BODY = auto()


class Bounded(HttpToolsProtocol):
    """uvicorn's protocol, which hears of nothing beyond the limits."""

    def __init__(self, *args: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._among, self._limits = connections, connections.limits
        self._stage = _Stage.HEAD
        self._fed = 0  # bytes of a head that is not complete, or of a body's framing since its last byte
        self._lines = 0  # headers and trailers of the request
        self._progress = False
        self._refused: RegraftError | None = None
        self.waited = 0  # ticks: for a head, or for the next byte of a body
        self._ending = 0  # ticks: for what is left of a body, or for the last of an answer to be taken
        self._window = self._arrived = self._arrived_in_window = 0

    # --- what uvicorn's server calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        if not self._among.enter(self, self.client[0] if self.client else ""):
            self.hang_up(errors.Unavailable("This server has all the connections that it can hold.", retry_after_s=5))

    def connection_lost(self, exc: Exception | None) -> None:
        self._among.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self.transport.is_closing():
            piece = data if self._stage is _Stage.BODY and at == 0 else data[at : at + PIECE]
            at += len(piece)
            self._feed(piece)

    def _feed(self, piece: bytes) -> None:
        was, self._progress = self._stage, False
        super().data_received(piece)
        if self.transport.is_closing():
            return
        self._arrived += len(piece)
        self._fed = 0 if self._progress else self._fed + len(piece)
        if self._fed > self._limits.head_bytes:
            self._refused = errors.HeadTooLarge()
        if self._refused is not None:
            self.hang_up(self._refused)
        elif len(self.pipeline) > PIPELINED:
            self.transport.abort()
        elif self._stage is _Stage.BODY and was is _Stage.HEAD:
            self.flow.pause_reading()  # until somebody wants the body: whoever has no key does not get it read

    # --- what the parser calls

    def on_message_begin(self) -> None:
        self._fed = self._lines = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        if self._lines > self._limits.headers:
            self._refused = errors.HeadTooLarge()
        elif self._stage is _Stage.HEAD:  # trailers would be taken for headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.head_bytes:
            self._refused = errors.HeadTooLarge()
        if self._refused is None:
            self._begin(_Stage.BODY)
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        if self._refused is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._begin(_Stage.HEAD)
        self._progress = True
        if self._refused is None:
            super().on_message_complete()

    def _begin(self, stage: _Stage) -> None:
        self._stage, self._fed = stage, 0
        self.measure()

    def measure(self) -> None:
        """Begin all measures of time and of bytes that arrive from now on."""
        self.waited = self._ending = self._window = self._arrived = self._arrived_in_window = 0

    # --- once a second

    @property
    def idle(self) -> bool:
        """No request is under way, but for one whose head is not there yet, or which has its answer."""
        return self.cycle is None or self.cycle.response_complete

    def tick(self) -> None:
        """Ends what has taken too long."""
        if self.transport.is_closing():
            self._ending += 1
            if self._ending > FLUSH:
                self.transport.abort()
        elif self._stage is _Stage.HEAD and self.idle and self.timeout_keep_alive_task is None:
            self.waited += 1
            if self.waited * TICK_S >= self._limits.head_s:
                self.hang_up(errors.TooSlow("The head of the request was not there in time."))
        elif self._stage is _Stage.BODY and self.idle:
            self._drain()
        elif self._stage is _Stage.BODY and not self.flow.read_paused and self._is_slow():
            self.hang_up(errors.TooSlow())

    def _drain(self) -> None:
        """Let the rest of an answered request's body come, but not for ever."""
        self._ending += 1
        if self._ending > DRAIN or self._is_slow():
            self._ending = 0
            self.transport.close()

    def _is_slow(self) -> bool:
        """One more tick has passed in which the body could have come."""
        self.waited = 0 if self._arrived else self.waited + 1
        self._arrived_in_window += self._arrived
        self._window, self._arrived = self._window + 1, 0
        if self.waited * TICK_S >= self._limits.body_s:
            return True
        if self._window * TICK_S < self._limits.body_s:
            return False
        too_few = self._arrived_in_window < self._limits.body_bytes_s * self._window * TICK_S
        self._window = self._arrived_in_window = 0
        return too_few

    def hang_up(self, error: RegraftError) -> None:
        """Say why, if no answer is under way, and hang up."""
        begun = self.cycle is not None and not self.cycle.response_complete
        if not (begun and self.cycle.response_started) and not self.pipeline:
            self.transport.write(_whole(error))
        if begun:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._ending = 0
        self.transport.close()


def _whole(error: RegraftError) -> bytes:
    """The answer as the wire has it."""
    answer = problems.answer(error)
    lines = [*guards(answer.headers), *answer.raw_headers, (b"connection", b"close")]
    head = STATUS_LINE[error.status] + b"".join(b"%s: %s\r\n" % line for line in lines)
    return head + b"\r\n" + bytes(answer.body)
