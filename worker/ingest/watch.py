"""A step's eye on its channel: how far it is goes out, an order to stop comes in."""

import time

from worker.runtime.contract import Channel, Interrupted, Progress

TELL_EVERY_S = 0.5


class DiskWatch:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._started_at = self._reported_at = time.monotonic()

    def checkpoint_or_stop(self) -> None:
        """
        Raises:
            Interrupted: an order to stop was given.  Reading begins anew next time, so there is no snapshot.
        """
        command = self._channel.command()
        if command is not None:
            raise Interrupted(command)

    def tell(self, done: int, total: int) -> None:
        """Report progress, about twice a second however often it is called."""
        now = time.monotonic()
        if done and now - self._reported_at >= TELL_EVERY_S:
            self._reported_at = now
            self._channel.emit(Progress(done, total, (total - done) * (now - self._started_at) / done))
