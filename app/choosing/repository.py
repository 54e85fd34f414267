"""The SQL of recommendations, of what their tasks have measured so far, and of the jobs that are their truth."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import String, cast, func, or_, select
from sqlalchemy.orm import Session

from app.core.status import Status
from app.db import ingested
from app.db.paging import Page
from app.db.tables import CheckpointRow, DatasetRow, Document, EventRow, JobRow, ModelRow, RecommendationRow, Task

EVIDENCE = "evidence"  # the type of the events that have it
MOST_JOBS = 1000  # that are compared with forecasts, or with each other: the newest

MOST_PAST = 200  # recommendations that are learned from: the newest


class StoredRecommendation(NamedTuple):
    """A recommendation and its task."""

    recommendation: RecommendationRow
    task: Task


def add(db: Session, row: RecommendationRow) -> None:
    db.add(row)
    db.flush()


def get(db: Session, recommendation_id: str) -> RecommendationRow | None:
    return db.get(RecommendationRow, recommendation_id)


def find(db: Session, owner: str, recommendation_id: str, *, hold: bool = False) -> StoredRecommendation | None:
    """The owner's recommendation; somebody else's is as good as none.  `hold`: it cannot be deleted before we are
    done."""
    row = ingested.find(db, RecommendationRow, owner, recommendation_id, hold=hold)
    return row and StoredRecommendation(*row)


def lock(db: Session, recommendation_id: str) -> None:
    """Let nobody else change it until the transaction ends, and read it anew."""
    query = select(RecommendationRow).where(RecommendationRow.id == recommendation_id).with_for_update()
    db.scalars(query.execution_options(populate_existing=True)).one_or_none()


def page(db: Session, owner: str, page: Page) -> list[StoredRecommendation]:
    """Up to `page.limit + 1` recommendations: the one too many says that there are more."""
    return [StoredRecommendation(*row) for row in ingested.page(db, RecommendationRow, owner, page, ())]


def evidence(db: Session, recommendation_ids: Collection[str]) -> dict[str, list[EventRow]]:
    """The events of each task that say what was measured, in their order."""
    if not recommendation_ids:
        return {}
    query = select(EventRow).where(EventRow.subject.in_(recommendation_ids), EventRow.type == EVIDENCE)
    found: dict[str, list[EventRow]] = {}
    for event in db.scalars(query.order_by(EventRow.seq)):
        found.setdefault(event.subject, []).append(event)
    return found


def ready_checkpoints(db: Session, owner: str, limit: int) -> tuple[list[str], int]:
    """Ids of the owner's ready checkpoints, the newest first, at most `limit`; and how many there are in all."""
    ready = select(CheckpointRow.id).join(Task, Task.id == CheckpointRow.id)
    ready = ready.where(CheckpointRow.owner == owner, Task.status == Status.SUCCEEDED)
    count = db.scalar(select(func.count()).select_from(ready.subquery())) or 0
    newest = ready.order_by(CheckpointRow.created_at.desc(), CheckpointRow.id.desc()).limit(limit)
    return list(db.scalars(newest)), count


def names(db: Session, checkpoint_ids: Collection[str]) -> dict[str, str]:
    """The names of checkpoints; a model has none of its own."""
    query = select(CheckpointRow.id, CheckpointRow.name).where(CheckpointRow.id.in_(checkpoint_ids))
    return {row.id: row.name for row in db.execute(query)}


def there(db: Session, job_ids: Collection[str]) -> set[str]:
    """Tell which of the jobs were not deleted."""
    if not job_ids:
        return set()
    return set(db.scalars(select(JobRow.id).where(JobRow.id.in_(job_ids))))


def finished_jobs(db: Session, row: RecommendationRow, checkpoints: Collection[str]) -> list[JobRow]:
    """The owner's jobs on the dataset that were evaluated, from these checkpoints or from nothing, the newest first."""
    query = select(JobRow).join(Task, Task.id == JobRow.id)
    query = query.where(JobRow.owner == row.owner, JobRow.dataset == row.dataset, Task.status == Status.SUCCEEDED)
    query = query.where(or_(JobRow.checkpoint.in_(checkpoints), JobRow.checkpoint.is_(None)))
    return list(db.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(MOST_JOBS)))


def answered(db: Session, owner: str) -> list[tuple[RecommendationRow, str | None]]:
    """The owner's complete recommendations that jobs came of, the newest, each with the address of the dataset's
    images, which a revision shares with its parent."""
    query = select(RecommendationRow, DatasetRow.pixels).join(DatasetRow, DatasetRow.id == RecommendationRow.dataset)
    query = query.join(Task, Task.id == RecommendationRow.id)
    query = query.where(RecommendationRow.owner == owner, Task.status == Status.SUCCEEDED)
    query = query.where(cast(RecommendationRow.jobs, String) != "[]")
    newest = query.order_by(RecommendationRow.created_at.desc(), RecommendationRow.id.desc()).limit(MOST_PAST)
    return [(row, pixels) for row, pixels in db.execute(newest)]


def same_question(db: Session, row: RecommendationRow, asked: Collection[str]) -> list[Document]:
    """The results of the owner's other recommendations on the same datasets with these parts of the request equal, the
    newest first."""
    query = select(RecommendationRow).where(RecommendationRow.owner == row.owner, RecommendationRow.id != row.id)
    query = query.where(RecommendationRow.dataset == row.dataset)
    query = query.where(RecommendationRow.source_dataset.is_not_distinct_from(row.source_dataset))
    newest = query.order_by(RecommendationRow.created_at.desc(), RecommendationRow.id.desc()).limit(MOST_PAST)
    rows = db.scalars(newest)
    return [one.result for one in rows if one.result and all(one.request[key] == row.request[key] for key in asked)]


class ComparableJob(NamedTuple):
    """A job that has learned from a checkpoint, with the addresses of its images and of the checkpoint's weights."""

    job: JobRow
    pixels: str
    weights: str | None


def comparable(db: Session, owner: str, methods: Collection[str]) -> list[ComparableJob]:
    """The owner's evaluated jobs of these methods, the newest `MOST_JOBS`."""
    weights = func.coalesce(CheckpointRow.weights, ModelRow.weights)
    query = select(JobRow, DatasetRow.pixels, weights)
    query = query.join(Task, Task.id == JobRow.id).join(DatasetRow, DatasetRow.id == JobRow.dataset)
    query = query.outerjoin(CheckpointRow, CheckpointRow.id == JobRow.checkpoint)
    query = query.outerjoin(ModelRow, ModelRow.id == JobRow.checkpoint)
    query = query.where(JobRow.owner == owner, Task.status == Status.SUCCEEDED, JobRow.method_name.in_(methods))
    query = query.where(JobRow.checkpoint.is_not(None), ~DatasetRow.multi_label)
    newest = query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(MOST_JOBS)
    return [ComparableJob(job, pixels, blob) for job, pixels, blob in db.execute(newest) if pixels is not None]


def evaluated(db: Session, job_ids: Collection[str]) -> list[JobRow]:
    """The jobs of these that have succeeded, in the order of their ids."""
    query = select(JobRow).join(Task, Task.id == JobRow.id)
    query = query.where(JobRow.id.in_(job_ids), Task.status == Status.SUCCEEDED)
    return list(db.scalars(query.order_by(JobRow.id)))
