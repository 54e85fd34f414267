"""`/v1/jobs`: one adaptation each, from request to model."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from app.api.schemas.common import Fault, Metadata, Name, Object, ProblemDetail, Shape, Warned
from app.contract.base import ObjectId, Seed, StrictModel
from app.contract.choice import Choice
from app.contract.evaluation import Evaluation
from app.contract.lineage import Lineage
from app.core.status import Status
from app.db.tables import Task
from app.jobs.planning import Request
from app.jobs.preflight import Estimate as Examined
from app.jobs.repository import StoredJob
from app.jobs.service import Terms
from app.methods.registry import OfferedMethod
from app.queue import policy
from app.queue.policy import Priority


class JobSpec(StrictModel):
    """`checkpoint` is a `ckpt_…` or a `model_…`.  `GET /v1/methods` says which methods need one, and which take one or
    else a `network` of the method, not both; the others start from nothing, and take no `source_dataset` either.
    `priority` counts among the jobs of its owner.  A job that runs for longer than `max_seconds`, over all attempts,
    fails: waits and pauses do not count."""

    checkpoint: ObjectId | None = None
    dataset: ObjectId
    source_dataset: ObjectId | None = None
    method: OfferedMethod
    seed: Seed = 0
    name: Name | None = None
    metadata: Metadata = {}
    priority: Priority = "normal"
    max_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None

    @property
    def terms(self) -> Terms:
        return Terms(self.priority, self.max_seconds)

    @property
    def request(self) -> Request:
        return Request(
            checkpoint=self.checkpoint,
            dataset=self.dataset,
            source_dataset=self.source_dataset,
            method=self.method,
            seed=self.seed,
        )


class Progress(Shape):
    """`fraction` is 0 to 1; `eta_s` is the time left where it can be told."""

    step: int
    total_steps: int | None
    fraction: float
    eta_s: float | None

    @classmethod
    def of(cls, task: Task) -> Self:
        done = task.status == Status.SUCCEEDED
        fraction = 1.0 if done else task.step / task.total_steps if task.total_steps else 0.0
        return cls(
            step=task.step,
            total_steps=task.total_steps,
            fraction=min(1.0, fraction),
            eta_s=None if done else task.eta_s,
        )


class Job(Object):
    """`queue_position` is 0 for the next job in the queue, null once it has left the queue; `starts_in_s` is about when
    it will start, null where that cannot be told.  `tournament` is the tournament or sweep of which it is a candidate;
    `choice` is what was chosen for an `auto` job, and by what."""

    object: Literal["job"] = "job"
    started_at: datetime | None
    finished_at: datetime | None
    name: str | None
    status: Status
    attempt: int
    queue_position: int | None
    starts_in_s: float | None
    priority: Priority
    max_seconds: float | None
    progress: Progress
    checkpoint: str | None
    dataset: str
    source_dataset: str | None
    method: dict[str, Any]
    seed: int
    error: Fault | None
    model: str | None
    evaluation: Evaluation | None
    lineage: Lineage
    tournament: str | None
    choice: Choice | None
    warnings: list[Warned]
    metadata: dict[str, str]

    @classmethod
    def of(cls, stored: StoredJob) -> Self:
        row, task = stored.job, stored.task
        return cls(
            id=row.id,
            created_at=row.created_at,
            started_at=task.started_at,
            finished_at=task.finished_at,
            name=row.name,
            status=task.status,
            attempt=task.attempt,
            queue_position=stored.position,
            starts_in_s=stored.starts_in_s,
            priority=policy.priority(task.rank),
            max_seconds=task.max_seconds,
            progress=Progress.of(task),
            checkpoint=row.checkpoint,
            dataset=row.dataset,
            source_dataset=row.source_dataset,
            method=row.method,
            seed=row.seed,
            error=Fault.of(task),
            model=row.model,
            evaluation=row.evaluation,
            lineage=row.lineage,
            tournament=row.tournament,
            choice=None if row.choice is None else Choice.load(row.choice),
            warnings=task.warnings,
            metadata=row.user_metadata,
        )


class SeenInput(Shape):
    """Images as a network sees them: `size` is [height, width]."""

    size: tuple[int, int]


class Preflight(Shape):
    """An estimate of what a job would come to; a figure that cannot be told without building the network is null.

    `images` of the training split would be seen in `steps` optimiser steps.  `parameters`, `weights_bytes` and
    `optimizer_bytes` are those of the source's network as it is stored.  `input` is what the network sees.
    """

    object: Literal["preflight"] = "preflight"
    fits: bool
    errors: list[ProblemDetail]
    waits_for: list[str]
    method: dict[str, Any]
    images: int | None
    steps: int | None
    parameters: int | None
    weights_bytes: int | None
    optimizer_bytes: int | None
    input: SeenInput | None

    @classmethod
    def of(cls, examined: Examined) -> Self:
        return cls(
            fits=not examined.plan.faults,
            errors=examined.plan.faults,
            waits_for=examined.waits_for,
            method=examined.plan.method.model_dump(mode="json"),
            images=examined.images,
            steps=examined.steps,
            parameters=examined.parameters,
            weights_bytes=examined.weights_bytes,
            optimizer_bytes=examined.optimizer_bytes,
            input=None if examined.plan.size is None else SeenInput(size=examined.plan.size),
        )
