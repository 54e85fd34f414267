"""The status of every background task and the one table of its moves."""

from enum import StrEnum


class Status(StrEnum):
    """Public states of a job; ingest tasks walk the same table."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED, Status.FAILED}),
    # running -> queued: the worker was shut down or died, the task is taken up again from its snapshot
    Status.RUNNING: frozenset(
        {Status.SUCCEEDED, Status.FAILED, Status.CANCELLING, Status.CANCELLED, Status.PAUSED, Status.QUEUED}
    ),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED, Status.FAILED}),
    # a run that finishes while it is being cancelled is cancelled all the same: cancel wins
    Status.CANCELLING: frozenset({Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELLED: frozenset({Status.QUEUED}),
}

TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


def may_move(source: Status, target: Status) -> bool:
    return target in MOVES[source]


class Readiness(StrEnum):
    """The state that a checkpoint or dataset shows of the task that ingests it."""

    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


def readiness(status: Status) -> Readiness:
    if status is Status.SUCCEEDED:
        return Readiness.READY
    return Readiness.FAILED if status in TERMINAL else Readiness.PROCESSING


def statuses(wanted: Readiness) -> frozenset[Status]:
    """The statuses of a task that show as `wanted`."""
    return frozenset(status for status in Status if readiness(status) is wanted)
