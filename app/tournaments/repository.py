"""The SQL of tournaments and sweeps, and of their jobs."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from app.core.status import Status
from app.db.paging import Page, paged
from app.db.session import now
from app.db.tables import EventRow, JobRow, RecommendationRow, Task, TournamentRow
from app.queue import controlled

UNDER_WAY = (Status.QUEUED, Status.RUNNING, Status.CANCELLING)
RACES = ("tournament", "sweep")  # kinds of tasks
SCORE = "score"  # the type of the events that have one


class StoredTournament(NamedTuple):
    """A tournament or a sweep, and its task."""

    tournament: TournamentRow
    task: Task


class Candidacy(NamedTuple):
    """A candidate's job, and its task."""

    job: JobRow
    task: Task


def add(db: Session, row: TournamentRow) -> None:
    db.add(row)
    db.flush()


def get(db: Session, tournament_id: str) -> TournamentRow:
    """The row as it is now, for whoever has locked its task."""
    query = select(TournamentRow).where(TournamentRow.id == tournament_id)
    return db.scalars(query.execution_options(populate_existing=True)).one()


def find(db: Session, owner: str, kind: str, tournament_id: str) -> StoredTournament | None:
    """The owner's tournament or sweep; somebody else's is as good as none."""
    query = select(TournamentRow, Task).join(Task, Task.id == TournamentRow.id)
    query = query.where(TournamentRow.id == tournament_id, TournamentRow.owner == owner, TournamentRow.kind == kind)
    row = db.execute(query).one_or_none()
    return row and StoredTournament(*row)


def page(db: Session, owner: str, kind: str, page: Page) -> list[StoredTournament]:
    """Up to `page.limit + 1` of the kind: the one too many says that there are more."""
    query = select(TournamentRow, Task).join(Task, Task.id == TournamentRow.id).where(TournamentRow.kind == kind)
    return [StoredTournament(*row) for row in db.execute(paged(db, query, TournamentRow, owner, page))]


def at_rest(db: Session) -> list[str]:
    """Ids of those under way none of whose jobs waits for a worker or runs, the oldest first."""
    job_task = aliased(Task)
    moving = exists().where(JobRow.tournament == Task.id, job_task.id == JobRow.id, job_task.status.in_(UNDER_WAY))
    query = select(Task.id).where(Task.lane == controlled.LANE, Task.status.in_(UNDER_WAY), ~moving.correlate(Task))
    return list(db.scalars(query.where(Task.kind.in_(RACES)).order_by(Task.seq)))


def automatic(db: Session) -> list[str]:
    """Ids of the `auto` jobs that can be moved, or may be, the oldest first."""
    query = select(Task.id).where(Task.lane == controlled.LANE, Task.kind.not_in(RACES))
    query = query.where(Task.status.in_(UNDER_WAY), Task.blocked.is_(False))
    return list(db.scalars(query.order_by(Task.seq)))


def overdue(db: Session, task_id: str) -> bool:
    """Tell whether the task has been under way for longer than it may."""
    late = select(Task.id).where(Task.id == task_id, Task.started_at + Task.max_seconds < now())
    return db.scalar(late) is not None


def candidacies(db: Session, job_ids: Collection[str]) -> dict[str, Candidacy]:
    """The jobs that are still there, by id."""
    query = select(JobRow, Task).join(Task, Task.id == JobRow.id).where(JobRow.id.in_(job_ids))
    query = query.execution_options(populate_existing=True)
    return {job.id: Candidacy(job, task) for job, task in db.execute(query)} if job_ids else {}


def scores(db: Session, job_ids: Collection[str]) -> Mapping[str, list[EventRow]]:
    """The events of each job that say how it was judged, in their order."""
    found: dict[str, list[EventRow]] = {}
    if job_ids:
        query = select(EventRow).where(EventRow.subject.in_(job_ids), EventRow.type == SCORE)
        for event in db.scalars(query.order_by(EventRow.seq)):
            found.setdefault(event.subject, []).append(event)
    return found


def newest_recommendation(db: Session, owner: str, dataset: str) -> str | None:
    """The id of the owner's newest complete recommendation for the dataset."""
    query = select(RecommendationRow.id).join(Task, Task.id == RecommendationRow.id)
    query = query.where(
        RecommendationRow.owner == owner, RecommendationRow.dataset == dataset, Task.status == Status.SUCCEEDED
    )
    newest = query.order_by(RecommendationRow.created_at.desc(), RecommendationRow.id.desc()).limit(1)
    return db.scalar(newest)
