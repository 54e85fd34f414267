"""What a job says while it runs: events, and points of its series."""

from datetime import datetime
from typing import Any, Literal, Self

from app.api.shapes.common import Listed, Shape
from app.db.tables import Event as Row


class Event(Listed):
    """`seq` grows with time; the stream takes it as `Last-Event-ID`."""

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


class Points(Shape):
    """In the order of their steps; where there are more, `?after_step=` of the last one goes on."""

    object: Literal["list"] = "list"
    data: list[Point]
    first_id: None = None
    last_id: None = None
    has_more: bool
