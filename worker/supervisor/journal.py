"""A journal takes what a task says to the database: gathered, and written twice a second in one transaction."""

import math
import time
from dataclasses import asdict

from sqlalchemy.orm import Session

from app.queue import service as queue
from app.queue.service import Claim
from worker.runtime.contract import Event, Metric, Note, Progress

FLUSH_S = 0.5


class Journal:
    """Nothing is dropped before it is written: when the database is away, the next flush tries again."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._flushed_at = 0.0
        self._progress: Progress | None = None
        self._notes: list[dict[str, object]] = []
        self._points: list[dict[str, object]] = []
        self._not_finite: set[tuple[str, str]] = set()

    @property
    def due(self) -> bool:
        return bool(self._progress or self._notes or self._points) and time.monotonic() - self._flushed_at >= FLUSH_S

    def add(self, event: Event) -> None:
        match event:
            case Progress():
                self._progress = event
            case Note():
                self._notes.append(asdict(event))
            case Metric() if math.isfinite(event.value):
                self._points.append(asdict(event))
            case Metric():
                self._warn(event)

    def _warn(self, point: Metric) -> None:
        """Once a series."""
        series = (point.name, point.split)
        if series not in self._not_finite:
            self._not_finite.add(series)
            message = f"{point.name} ({point.split}) was {point.value} at step {point.step}: such points are left out."
            self._notes.append(asdict(Note("not_finite", message, level="warning")))

    def write(self, db: Session) -> None:
        """
        Raises:
            LeaseLost: the claim no longer holds.
        """
        latest = self._progress
        progress = None if latest is None else (latest.step, latest.total_steps, _finite(latest.eta_s))
        queue.report(db, self._claim, progress=progress, notes=self._notes, points=self._points)

    def written(self) -> None:
        """The transaction of `write` was committed."""
        self._progress, self._notes, self._points = None, [], []
        self._flushed_at = time.monotonic()


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
