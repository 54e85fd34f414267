"""Bytes of memory that threads take from a common share while they compute."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

LIGHT = 16  # whoever takes less than this part of the share does not count, and waits for nobody


class Share:
    """`total` bytes; whoever has to wait for room is served in the order of coming."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, count: int) -> Iterator[None]:
        """Within, `count` bytes are taken; more than the total are granted when nobody else has any."""
        if count < self.total // LIGHT:
            yield
            return
        me = object()
        with self._changed:
            self._waiting.append(me)
            self._changed.wait_for(lambda: self._waiting[0] is me and self._fits(count))
            self._waiting.popleft()
            self._taken += count
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()

    def _fits(self, count: int) -> bool:
        return not self._taken or self._taken + count <= self.total
