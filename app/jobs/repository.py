"""The SQL of jobs, their events and their metrics."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from app.core.status import TERMINAL, Status
from app.db import ingested
from app.db.paging import Page, paged
from app.db.tables import EventRow, JobRow, Metric, PreflightRow, Task, WorkerProcess
from app.queue import repository as queue


class StoredJob(NamedTuple):
    """A job, the task that runs it, how many tasks are before it in the queue (None: it is not waiting), and in about
    how many seconds it will start, where that can be told."""

    job: JobRow
    task: Task
    position: int | None
    starts_in_s: float | None = None


class State(NamedTuple):
    """The state that a follower of events looks at: where the task stands, and the last event of it."""

    status: Status
    last_seq: int


def add(db: Session, job: JobRow) -> None:
    db.add(job)
    db.flush()


def get(db: Session, job_id: str) -> JobRow | None:
    return db.get(JobRow, job_id)


def find(db: Session, owner: str, job_id: str) -> StoredJob | None:
    """The owner's job, in one statement; somebody else's is as good as none."""
    row = db.execute(_stored().where(JobRow.id == job_id, JobRow.owner == owner)).one_or_none()
    return row and StoredJob(*row)


def page(
    db: Session,
    owner: str,
    page: Page,
    *,
    kind: str,
    statuses: Collection[Status],
    method: str | None,
    checkpoint: str | None,
    dataset: str | None,
) -> list[StoredJob]:
    """Up to `page.limit + 1` jobs: the one too many says that there are more.

    Those of one status are found by their tasks, in the order of these: a status may be rare.
    """
    query = _stored()
    if statuses:
        query = query.where(Task.kind == kind, Task.status.in_(statuses))
    for column, wanted in ((JobRow.method_name, method), (JobRow.checkpoint, checkpoint), (JobRow.dataset, dataset)):
        if wanted is not None:
            query = query.where(column == wanted)
    return [
        StoredJob(*row) for row in db.execute(paged(db, query, Task if len(statuses) == 1 else JobRow, owner, page))
    ]


def _stored() -> Select[JobRow, Task, int | None]:
    return select(JobRow, Task, queue.position()).join(Task, Task.id == JobRow.id)


def find_preflight(db: Session, owner: str, preflight_id: str) -> tuple[PreflightRow, Task] | None:
    """The owner's measured preflight; somebody else's is as good as none."""
    return ingested.find(db, PreflightRow, owner, preflight_id, hold=False)


def measured(db: Session, owner: str, key: str) -> PreflightRow | None:
    """The owner's newest answer to the same question, of a place where a worker lives."""
    query = select(PreflightRow).where(PreflightRow.owner == owner, PreflightRow.key == key)
    query = query.where(PreflightRow.place.in_(select(_place())))
    return db.scalars(query.order_by(PreflightRow.created_at.desc(), PreflightRow.id).limit(1)).one_or_none()


def place(db: Session, task_id: str) -> str | None:
    """The host and device of the worker that has the task."""
    return db.scalar(select(_place()).join(Task, Task.worker == WorkerProcess.id).where(Task.id == task_id))


def _place() -> ColumnElement[str]:
    return WorkerProcess.host + " " + WorkerProcess.device


def forget_model(db: Session, model_id: str) -> None:
    """Let the job that made the model no longer point to it."""
    db.execute(update(JobRow).where(JobRow.model == model_id).values(model=None))


def states(db: Session, job_ids: Collection[str]) -> dict[str, State]:
    """The state of each job that still is there.

    One statement, so that its last event is at least as new as its status.
    """
    last = select(func.max(EventRow.seq)).where(EventRow.subject == Task.id).correlate(Task).scalar_subquery()
    rows = db.execute(select(Task.id, Task.status, last).where(Task.id.in_(job_ids)))
    return {id_: State(Status(status), seq or 0) for id_, status, seq in rows}


def counts(db: Session) -> dict[tuple[str, Status], int]:
    """Tasks that have not ended, by kind and status."""
    waiting = select(Task.kind, Task.status, func.count()).where(Task.status.not_in(TERMINAL))
    return {
        (kind, Status(status)): count for kind, status, count in db.execute(waiting.group_by(Task.kind, Task.status))
    }


def metrics(
    db: Session, job_id: str, *, names: Sequence[str], split: str | None, after_step: int | None, limit: int
) -> list[Metric]:
    """Points in the order of their steps."""
    query = select(Metric).where(Metric.job == job_id)
    if names:
        query = query.where(Metric.name.in_(names))
    if split is not None:
        query = query.where(Metric.split == split)
    if after_step is not None:
        query = query.where(Metric.step > after_step)
    return list(db.scalars(query.order_by(Metric.step, Metric.name, Metric.split).limit(limit)))
