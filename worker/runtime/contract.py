"""The contract of a run: a spec goes in, a stream of events comes out.

It is the same for a warm child process on this machine and for one far away.  Everything here pickles,
and nothing here knows a database, a blob store or HTTP: inputs are local files, outputs are local files.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from app.contract.record import Record

Level = Literal["info", "warning", "error"]
Command = Literal["cancel", "pause", "shutdown"]
Payload = TypeVar("Payload", bound=Record, covariant=True)
Outcome = TypeVar("Outcome", bound=Record, covariant=True)


@dataclass(frozen=True)
class Spec(Generic[Payload]):
    """One background task.

    `kind` names what is to be done, `payload` says how, `inputs` maps a role to a local file that is only read,
    `workdir` is an empty folder for what the task writes, `snapshot` is the state to go on from.  `cache` is a folder
    that tasks share, in which they keep what others may need: at most `cache_bytes`.  Pixels of more than
    `resident_bytes` are kept in `workdir`.
    """

    kind: str
    subject: str
    payload: Payload
    inputs: dict[str, Path]
    workdir: Path
    snapshot: Path | None = None
    device: str = "cpu"
    snapshot_every_s: float = 30.0
    memory_bytes: int | None = None  # address space for untrusted input; None: no limit
    cache: Path | None = None
    cache_bytes: int = 4 * 2**30
    resident_bytes: int = 2**62
    pixel_bytes: int = 2**62  # that a dataset may have
    min_free_bytes: int = 0  # that stay free on the disk of `workdir`
    job_bytes: int | None = None  # of memory that a job may take; None: what there is
    signatures: Path | None = None  # a folder with those of networks, where they were made anew


@dataclass(frozen=True)
class Progress:
    step: int
    total_steps: int
    eta_s: float | None = None


@dataclass(frozen=True)
class Metric:
    """A point of a series; `step` counts optimiser steps, `epoch` may be a fraction."""

    name: str
    split: str
    step: int
    epoch: float
    value: float


@dataclass(frozen=True)
class Note:
    """A line of the task's event log."""

    type: str
    message: str
    level: Level = "info"
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """State to resume from, complete on disk at `path`; the task does not touch that file again."""

    path: Path
    step: int


@dataclass(frozen=True)
class Result(Generic[Outcome]):
    """The task is done: what came of it, and files in `workdir` by role."""

    outcome: Outcome
    artifacts: dict[str, Path] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """The outcome as JSON; numbers that are not finite are still in it."""
        return self.outcome.dump()


Event = Progress | Metric | Note | Snapshot | Result[Any]


class Channel(Protocol):
    """A task's view of the process that runs it."""

    def emit(self, event: Event) -> None: ...

    def command(self) -> Command | None:
        """The order to stop, once it was given; never blocks, cheap enough for every batch."""


class Failure(Exception):
    """The task cannot succeed, however often it is tried: a stable, documented `code`, and what to change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Retry(Exception):
    """The task failed for a reason outside itself; try again after `after_s` seconds.  `code` stands when it was tried
    often enough."""

    def __init__(self, message: str, after_s: float, code: str) -> None:
        super().__init__(message, after_s, code)
        self.message = message
        self.after_s = after_s
        self.code = code


class Interrupted(Exception):
    """The task stopped because it was told to; it has emitted a `Snapshot` first unless it was cancelled."""

    def __init__(self, command: Command) -> None:
        super().__init__(command)
        self.command = command
