"""A rehearsal of a run: everything is done once, and of what comes again and again only a little, by which the rest is
reckoned."""

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TypeVar

T = TypeVar("T")

STEPS = 2  # that are timed, after one to warm up, …
ENOUGH_S, MOST_STEPS = 0.4, 24  # … and more where they are over at once
IMAGES = 1024  # of a pass over images


class Rehearsal:
    """`settle` waits for the device.  `step_s` are the seconds of every step that was timed."""

    def __init__(self, settle: Callable[[], None] = lambda: None) -> None:
        self._settle = settle
        self._began_at, self._left_out_s = time.monotonic(), 0.0
        self.step_s: list[float] = []

    @property
    def seconds(self) -> float:
        """Seconds that the run would have taken so far, with what was left out."""
        self._settle()
        return time.monotonic() - self._began_at + self._left_out_s

    def leave_out(self, seconds: float) -> None:
        """Put down what would have taken so long, and is not done."""
        self._left_out_s += seconds

    def some(self, steps: Sequence[T]) -> Iterator[T]:
        """The first few of equal steps; the others are left out, at the median of those but the first."""
        timed: list[float] = []
        for number, step in enumerate(steps):
            if len(timed) >= STEPS and (sum(timed) >= ENOUGH_S or len(timed) >= MOST_STEPS):
                self.leave_out((len(steps) - number) * median(timed))
                return
            self._settle()
            began_at = time.monotonic()
            yield step
            self._settle()
            if number:
                timed.append(time.monotonic() - began_at)
                self.step_s.append(timed[-1])

    def passed(self, images: int, of: int, began_at: float) -> None:
        """Leave out the rest of a pass that has shown `images` of so many since it `began_at`."""
        self._settle()
        self.leave_out((time.monotonic() - began_at) * (of - images) / images)
