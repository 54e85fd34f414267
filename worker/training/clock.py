"""The clock of a training."""

import time

from worker.runtime.run import Run

PROGRESS_EVERY_S = 0.5


class Clock:
    """Reports progress about twice a second, with the time left at the mean speed since the start or the resume."""

    def __init__(self, run: Run, total: int) -> None:
        self._run, self._total = run, total
        self._first = 0
        self._started_at = self._reported_at = 0.0

    def start(self, step: int) -> None:
        self._first, self._started_at = step, time.monotonic()
        self._run.tell(step, self._total)

    def tick(self, step: int) -> None:
        now = time.monotonic()
        if now - self._reported_at < PROGRESS_EVERY_S:
            return
        self._reported_at = now
        left = (self._total - step) * (now - self._started_at) / (step - self._first)
        self._run.tell(step, self._total, left)

    def end(self, step: int) -> None:
        self._run.tell(step, step, 0.0)
