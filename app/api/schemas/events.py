"""Schemas of what background tasks say while they run: events, and points of a job's series."""

from datetime import datetime
from typing import Any, Literal, Self

from app.api.schemas.common import Listed, Shape
from app.db.tables import EventRow as Row


class Event(Listed):
    """`seq` grows with time; the stream takes it as `Last-Event-ID`.  `subject` is the object that it is about, `job`
    the same where that is a job."""

    seq: int
    object: Literal["event"] = "event"
    subject: str
    job: str | None
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
            subject=row.subject,
            job=row.subject if row.subject.startswith("job_") else None,
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


class Points(Shape):
    """Points in the order of their steps; where there are more, `?after_step=` of the last one goes on."""

    object: Literal["list"] = "list"
    data: list[Point]
    first_id: None = None
    last_id: None = None
    has_more: bool
