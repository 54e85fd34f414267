"""Server-sent events of a job, from one poller for all who follow, for as long as their keys are valid."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.schemas.events import Event
from app.api.shares import Shares
from app.core.status import TERMINAL
from app.db.tables import EventRow as Row
from app.jobs.feed import Feed

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies are not to hold it back
KEEP_ALIVE_S = 15.0

CHECK_S = 2.0  # how often the key of a stream is looked at

Read = Callable[[int], list[Row]]
Valid = Callable[[], Awaitable[bool]]


class Following(StreamingResponse):
    """A stream that gives its owner's share back in the end, however it ends."""

    def __init__(self, content: AsyncIterator[bytes], shares: Shares, owner: str) -> None:
        super().__init__(content, media_type=MEDIA_TYPE, headers=HEADERS)
        self._shares, self._owner = shares, owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._shares.give_back(self._owner)


async def stream(feed: Feed, read: Read, valid: Valid, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Events of the job beyond `after`, until it has ended, or whoever follows is not `valid` any more; a comment now
    and then keeps the line open.

    `read` gives the events beyond a sequence number, oldest first, empty when there are none; it runs in a thread.
    """
    yield b"retry: 1000\n\n"
    spoken = checked = time.monotonic()
    async with feed.follow(job_id) as states:
        while (state := await states.get()) is not None:
            if time.monotonic() - checked > CHECK_S:
                checked = time.monotonic()
                if not await valid():
                    return
            while after < state.last_seq and (rows := await asyncio.to_thread(read, after)):
                yield b"".join(_frame(row) for row in rows)
                after, spoken = rows[-1].seq, time.monotonic()
            if state.status in TERMINAL:
                return
            if time.monotonic() - spoken > KEEP_ALIVE_S:
                yield b": still here\n\n"
                spoken = time.monotonic()


def _frame(row: Row) -> bytes:
    return f"id: {row.seq}\ndata: {Event.of(row).model_dump_json()}\n\n".encode()
