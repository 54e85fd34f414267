"""`/v1/jobs/preflights`: what a job takes, measured by a worker."""

from typing import Any, Literal, Self

from app.api.schemas.common import Fault, Object, Shape, Warned
from app.api.schemas.jobs import SeenInput
from app.core.status import Status
from app.jobs.rehearsals import StoredPreflight

WITHIN = 0.25  # of the estimate: docs/choosing.md

PreflightStatus = Literal["queued", "running", "ready", "failed"]
SHOWN: dict[Status, PreflightStatus] = {
    Status.QUEUED: "queued",
    Status.SUCCEEDED: "ready",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}


class Seconds(Shape):
    """Seconds that the job runs, without its wait, and an interval about them."""

    estimate: float
    interval: tuple[float, float]


class Suggestion(Shape):
    """The change with which the job would fit."""

    batch_size: int


class MeasuredPreflight(Object):
    """A job, rehearsed: some of its steps, with all that comes before and after them.

    `fits`: its batches fit in the memory of the worker, `available_bytes`; where they do not, figures are of the
    batches that `suggestion` names.  `memory_bytes` is the most that it has at a time: of a GPU's memory where `device`
    is one.  `steps` are all optimiser steps, `step_seconds` the median of those timed.  All are null until it is ready.
    """

    object: Literal["preflight"] = "preflight"
    status: PreflightStatus
    error: Fault | None
    checkpoint: str | None
    dataset: str
    source_dataset: str | None
    method: dict[str, Any]
    seed: int
    fits: bool | None
    seconds: Seconds | None
    memory_bytes: int | None
    available_bytes: int | None
    suggestion: Suggestion | None
    input: SeenInput | None
    steps: int | None
    step_seconds: float | None
    device: str | None
    warnings: list[Warned]

    @classmethod
    def of(cls, stored: StoredPreflight) -> Self:
        row, task, cost = stored.preflight, stored.task, stored.cost
        seconds = cost and cost.seconds
        return cls(
            **row.request,
            id=row.id,
            created_at=row.created_at,
            status=SHOWN.get(Status(task.status), "running"),
            error=Fault.of(task),
            fits=cost and cost.fits,
            seconds=seconds and Seconds(estimate=seconds, interval=((1 - WITHIN) * seconds, (1 + WITHIN) * seconds)),
            memory_bytes=cost and cost.memory_bytes,
            available_bytes=cost and cost.available_bytes,
            suggestion=Suggestion(batch_size=cost.batch_size) if cost and cost.batch_size else None,
            input=SeenInput(size=cost.input.size) if cost and cost.input else None,
            steps=cost and cost.steps,
            step_seconds=cost and cost.step_seconds,
            device=cost and cost.device,
            warnings=task.warnings,
        )
