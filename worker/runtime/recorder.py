"""A channel for a run without a supervisor: in a notebook, a script or a test."""

from collections.abc import Callable
from typing import TypeVar

from worker.runtime.contract import Command, Event, Metric

E = TypeVar("E", bound=Event)


class Recorder:
    """Keeps all events; `order`, if given, is asked before every batch whether to stop."""

    def __init__(self, order: Callable[["Recorder"], Command | None] | None = None) -> None:
        self.events: list[Event] = []
        self._order = order

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def command(self) -> Command | None:
        return None if self._order is None else self._order(self)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def series(self, name: str, split: str) -> list[float]:
        return [event.value for event in self.of(Metric) if (event.name, event.split) == (name, split)]
