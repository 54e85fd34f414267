"""A task's executor runs its spec and yields its events, on this machine or on another."""

from typing import Protocol

from app.contract.record import Record
from worker.runtime.contract import Command, Event, Spec


class Crashed(Exception):
    """The task's process broke: it died, or met a fault that it did not expect.  `reason` is a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Attempt(Protocol):
    """One task under way."""

    def next(self, timeout_s: float) -> Event | None:
        """The next event; None if there is none within `timeout_s`.  A `Result` is the last.

        Raises:
            Failure, Retry, Interrupted: as the task raised them.
            Crashed: its process broke.
        """

    def order(self, command: Command) -> None:
        """Ask the task to stop; it answers with `Interrupted`, within a batch or so."""

    def kill(self) -> None:
        """End the task and all its processes now; harmless when it has ended."""


class Executor(Protocol):
    def warm(self) -> None:
        """Get ready to start tasks at once; returns when it is."""

    @property
    def idle(self) -> bool:
        """No task is under way."""

    def start(self, spec: Spec[Record]) -> Attempt: ...

    def close(self) -> None: ...
