"""`/v1/jobs/{id}/events` and `/metrics`: what a job says while it runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Literal, Self

from app.api.shapes import Shape
from app.core.status import TERMINAL
from app.db.tables import Event as Row
from app.jobs.feed import Feed

KEEP_ALIVE_S = 15.0

Read = Callable[[int], list[Row]]


class Event(Shape):
    """`seq` grows with time; the stream takes it as `Last-Event-ID`."""

    id: str
    seq: int
    object: Literal["event"] = "event"
    job: str
    at: datetime
    level: Literal["info", "warning", "error"]
    type: str
    message: str
    data: dict[str, Any]

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(
            id=f"event_{row.seq}",
            seq=row.seq,
            job=row.subject,
            at=row.at,
            level=row.level,
            type=row.type,
            message=row.message,
            data=row.data,
        )


class Point(Shape):
    """A point of a series; `step` counts optimiser steps, `epoch` may be a fraction."""

    name: str
    split: str
    step: int
    epoch: float
    value: float
    at: datetime


async def stream(feed: Feed, read: Read, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Server-sent events of the job beyond `after`, until it has ended; a comment now and then keeps the line open.

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
