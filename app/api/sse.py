"""Server-sent events of a job, from one poller for all who follow."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from app.api.shapes.events import Event
from app.core.status import TERMINAL
from app.db.tables import Event as Row
from app.jobs.feed import Feed

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies are not to hold it back
KEEP_ALIVE_S = 15.0

Read = Callable[[int], list[Row]]


async def stream(feed: Feed, read: Read, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Events of the job beyond `after`, until it has ended; a comment now and then keeps the line open.

    `read` gives the events beyond a sequence number, oldest first, empty when there are none; it runs in a thread.
    """
    yield b"retry: 1000\n\n"
    spoken = time.monotonic()
    async with feed.follow(job_id) as states:
        while (state := await states.get()) is not None:
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
