"""Cheap refusals: where there is no room for a prediction, the next ones are refused at once, by their heads, with
bodies unread.

An ordinary refusal costs a tenth of what an answer does: at a few times the load that a server can bear, refusals would
take half of its processor.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from app.api.connections import Bounded
from app.api.meters import Meters

PATH = r"/v1/(models|checkpoints)/([a-z]+_[0-9a-z]{4,40})/predictions"

_HEAD = re.compile(rb"POST (%s)(?:\?[!-~]*)? HTTP/1\.1\r\n" % PATH.encode())
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,12})\r\n")
_UNUSUAL = (b"\r\ntransfer-encoding", b"\r\nexpect", b"\r\nupgrade", b"\r\nconnection: close")


class Refusals:
    """Paths of predictions that were refused for want of room, until none of their requests is under way.

    Meanwhile no more of them are let in than the queue can hold.
    """

    def __init__(self, meters: Meters) -> None:
        self._most: dict[bytes, int] = {}
        self._inside: Counter[bytes] = Counter()
        self._counters = {
            noun: meters.requests.labels("POST", f"/v1/{noun.decode()}/{{id}}/predictions", 503)
            for noun in (b"models", b"checkpoints")
        }

    def note(self, path: str, most: int) -> None:
        """A request was refused; the queue holds `most` like it."""
        self._most[path.encode()] = max(1, most)

    def __bool__(self) -> bool:
        return bool(self._most)

    def watched(self, head: re.Match[bytes]) -> bool:
        return head[1] in self._most

    def full(self, head: re.Match[bytes]) -> bool:
        return self._inside[head[1]] >= self._most[head[1]]

    def count(self, head: re.Match[bytes]) -> None:
        """Count that the request of this head was refused."""
        self._counters[head[2]].inc()

    def enter(self, head: re.Match[bytes]) -> None:
        self._inside[head[1]] += 1

    def leave(self, head: re.Match[bytes]) -> None:
        self._inside[head[1]] -= 1
        if not self._inside[head[1]]:
            del self._inside[head[1]]
            self._most.pop(head[1], None)


class LoadShedding(Bounded):
    """uvicorn's protocol, which gets to see what is not refused here."""

    def __init__(
        self, *args: Any, refusals: Refusals, headers: Sequence[tuple[bytes, bytes]], body: bytes, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._refusals = refusals
        self._refusal = b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + body
        self._within = False  # a request that the parser has begun
        self._unread = 0  # bytes of a request that was refused
        self._inside: re.Match[bytes] | None = None  # the head of one that was let in and counted

    def data_received(self, data: bytes) -> None:
        while data:
            if self._unread:
                passed, data = min(self._unread, len(data)), data[self._unread :]
                self._unread -= passed
                self._arrived += passed
                self._wait_for_more()
            elif (head := self._watched(data)) is None:
                super().data_received(data)
                return
            elif self._refusals.full(head) and (length := _length(data, head)) is not None:
                self._unread = length
                self.measure()
                self._refuse(head)
            else:
                self._inside = head
                self._refusals.enter(head)
                super().data_received(data)
                return

    def tick(self) -> None:
        if self._unread and not self.transport.is_closing():
            self._drain()
        else:
            super().tick()

    def on_message_begin(self) -> None:
        self._within = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._within = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._leave()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _watched(self, data: bytes) -> re.Match[bytes] | None:
        """The head, if a request begins here that may be refused: of a path that was, with no other under way."""
        if not self._refusals or self._within or self._inside or self.pipeline or self.flow.write_paused:
            return None
        if not (self.cycle is None or self.cycle.response_complete) or self.transport.is_closing():
            return None
        head = _HEAD.match(data)
        return head if head and self._refusals.watched(head) else None

    def _refuse(self, head: re.Match[bytes]) -> None:
        self._refusals.count(head)
        self.server_state.total_requests += 1
        usual = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\n" + usual + self._refusal)

    def _leave(self) -> None:
        if self._inside:
            self._refusals.leave(self._inside)
            self._inside = None

    def _wait_for_more(self) -> None:
        """Wait for the next request as after every answer: for so long, if the request has been read; else for what is
        left of it."""
        self._unset_keepalive_if_required()
        if not self._unread:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )


def _length(data: bytes, head: re.Match[bytes]) -> int | None:
    """The bytes of the request, all told; None if it is unusual, or its head is not here whole."""
    end = data.find(b"\r\n\r\n", head.end() - 2)
    fields = data[head.end() - 2 : end + 2].lower()
    length = _LENGTH.search(fields)
    if end < 0 or length is None or fields.count(b"content-length") != 1:
        return None
    if fields.count(b"\n") != fields.count(b"\r\n") or any(unusual in fields for unusual in _UNUSUAL):
        return None
    return end + 4 + int(length[1])
