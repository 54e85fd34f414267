"""The SQL of background steps: arrival, claim, lease, dependencies, their events and metrics."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Case, ColumnElement, ScalarSelect, case, delete, exists, func, insert, literal, select, update
from sqlalchemy.orm import Session, aliased

from app.core import plain
from app.core.status import Status
from app.db.paging import Order
from app.db.session import now
from app.db.tables import Dependency, Event, Metric, Task, Turn, WorkerProcess
from app.db.upsert import upsert

HELD = (Status.RUNNING, Status.CANCELLING)  # a worker has the step
POSITION_LIMIT = 1000  # beyond so many before it a step's position is not counted further


def add(db: Session, task: Task) -> None:
    db.add(task)
    db.flush()
    upsert(db, Turn, [{"lane": task.lane, "owner": task.owner, "last_started_at": 0.0}], keys=("lane", "owner"))


def next_seq() -> ScalarSelect[int]:
    return select(func.coalesce(func.max(Task.seq), 0) + 1).scalar_subquery()


def get(db: Session, task_id: str) -> Task | None:
    return db.get(Task, task_id)


def lock(db: Session, task_id: str) -> Task | None:
    """The step, which nobody else changes until the transaction ends."""
    return _lock(db, Task.id == task_id)


def lock_held(db: Session, task_id: str, token: str) -> Task | None:
    """The same, if the claim still holds."""
    return _lock(db, Task.id == task_id, Task.lease_token == token, Task.status.in_(HELD))


def lock_expired(db: Session, task_id: str) -> Task | None:
    """The same, if its lease has run out and nobody else has it locked."""
    return _lock(db, Task.id == task_id, Task.status.in_(HELD), Task.lease_expires_at < now(), skip_locked=True)


def _lock(db: Session, *criteria: ColumnElement[bool], skip_locked: bool = False) -> Task | None:
    query = select(Task).where(*criteria).with_for_update(skip_locked=skip_locked)
    query = query.execution_options(populate_existing=True)
    return db.scalars(query).one_or_none()


def position() -> Case[int | None]:
    """How many steps of its lane came before the `Task` of the enclosing query; null unless that is queued."""
    other = aliased(Task)
    before = select(literal(1)).where(other.lane == Task.lane, other.status == Status.QUEUED, other.seq < Task.seq)
    counted = before.correlate(Task).limit(POSITION_LIMIT).subquery()
    return case((Task.status == Status.QUEUED, select(func.count()).select_from(counted).scalar_subquery()))


# --- claim and lease


def waiting_owners(db: Session, lane: str) -> list[str]:
    """Owners with queued steps, those first whose last step began longest ago."""
    queued = exists().where(Task.lane == Turn.lane, Task.owner == Turn.owner, Task.status == Status.QUEUED)
    query = select(Turn.owner).where(Turn.lane == lane, queued.correlate(Turn))
    return list(db.scalars(query.order_by(Turn.last_started_at, Turn.owner)))


def claim(
    db: Session, lane: str, owner: str, *, worker: str, token: str, lease_s: float, max_attempts: int
) -> Task | None:
    """Give the owner's first step that can start to `worker`, in one statement."""
    need, need_task = aliased(Dependency), aliased(Task)
    unmet = exists().where(need.dependent == Task.id, need_task.id == need.needs, need_task.status != Status.SUCCEEDED)
    first = (
        select(Task.id)
        .where(Task.lane == lane, Task.owner == owner, Task.status == Status.QUEUED, Task.available_at <= now())
        .where(~unmet.correlate(Task))
        .order_by(Task.seq)
        .limit(1)
        .with_for_update(skip_locked=True)  # SQLite has none: there BEGIN IMMEDIATE lets one claimer in at a time
        .scalar_subquery()
    )
    claimed = (
        update(Task)
        .where(Task.id == first, Task.status == Status.QUEUED)
        .values(
            status=Status.RUNNING,
            requested=None,
            attempt=Task.attempt + 1,
            max_attempts=max_attempts,
            lease_token=token,
            lease_expires_at=now() + lease_s,
            worker=worker,
            started_at=now(),
            finished_at=None,
            error_code=None,
            error_message=None,
        )
        .returning(Task)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    task = db.scalars(claimed).one_or_none()
    if task is not None:
        turn = update(Turn).where(Turn.lane == lane, Turn.owner == owner).values(last_started_at=now())
        db.execute(turn, execution_options={"synchronize_session": False})
    return task


def standing(db: Session, task_id: str, token: str) -> tuple[str, str | None] | None:
    """Status and wish, None if the claim no longer holds."""
    query = select(Task.status, Task.requested)
    row = db.execute(query.where(Task.id == task_id, Task.lease_token == token, Task.status.in_(HELD))).one_or_none()
    return row and (row.status, row.requested)


def renew(db: Session, task_id: str, token: str, lease_s: float) -> tuple[str, str | None] | None:
    """The same, and prolong the lease, in one statement."""
    renewed = (
        update(Task)
        .where(Task.id == task_id, Task.lease_token == token, Task.status.in_(HELD))
        .values(lease_expires_at=now() + lease_s)
        .returning(Task.status, Task.requested)
        .execution_options(synchronize_session=False)
    )
    row = db.execute(renewed).one_or_none()
    return row and (row.status, row.requested)


def expired(db: Session) -> list[str]:
    query = select(Task.id).where(Task.status.in_(HELD), Task.lease_expires_at < now())
    return list(db.scalars(query))


def tokens(db: Session) -> set[str]:
    return {token for token in db.scalars(select(Task.lease_token).where(Task.status.in_(HELD))) if token}


# --- dependencies


def depend(db: Session, dependent: str, needs: Collection[str]) -> None:
    rows = [{"dependent": dependent, "needs": needed} for needed in dict.fromkeys(needs)]
    upsert(db, Dependency, rows, keys=("dependent", "needs"))


def needs(db: Session, dependent: str) -> list[str]:
    return list(
        db.scalars(select(Dependency.needs).where(Dependency.dependent == dependent).order_by(Dependency.needs))
    )


def lock_needs(db: Session, dependent: str) -> list[Task]:
    """The steps of what `dependent` needs, as they stand; none of them changes until the transaction ends."""
    query = select(Task).join(Dependency, Dependency.needs == Task.id).where(Dependency.dependent == dependent)
    query = query.order_by(Task.id).with_for_update(read=True, of=Task)
    return list(db.scalars(query.execution_options(populate_existing=True)))


def waiting_for(db: Session, needed: str) -> list[str]:
    """Steps that cannot start before `needed` has succeeded."""
    query = select(Task.id).join(Dependency, Dependency.dependent == Task.id).where(Dependency.needs == needed)
    return list(db.scalars(query.where(Task.status.in_((Status.QUEUED, Status.PAUSED))).order_by(Task.id)))


def forget(db: Session, object_id: str) -> None:
    for statement in (
        delete(Dependency).where(Dependency.dependent == object_id),
        delete(Task).where(Task.id == object_id),
        delete(Event).where(Event.subject == object_id),
        delete(Metric).where(Metric.job == object_id),
    ):
        db.execute(statement)


# --- what a step says


def add_events(db: Session, subject: str, notes: Sequence[Mapping[str, Any]]) -> None:
    """`notes`: {level, type, message, data}.  The caller has locked the step, so its events are numbered in order."""
    rows = [
        {"subject": subject, **note, "message": plain.text(note["message"]), "data": plain.document(note["data"])}
        for note in notes
    ]
    if rows:
        db.execute(insert(Event).values(at=now()), rows)


def events(db: Session, subject: str, *, after: int | None, order: Order, limit: int) -> list[Event]:
    query = select(Event).where(Event.subject == subject)
    if after is not None:
        query = query.where(Event.seq > after if order == "asc" else Event.seq < after)
    return list(db.scalars(query.order_by(Event.seq.asc() if order == "asc" else Event.seq.desc()).limit(limit)))


def put_metrics(db: Session, job: str, points: Sequence[Mapping[str, Any]]) -> None:
    """`points`: {name, split, step, epoch, value}; a point that is there already is written again."""
    latest = {(point["name"], point["split"], point["step"]): point for point in points}
    rows = [{"job": job, "at": now(), **point} for point in latest.values()]
    for start in range(0, len(rows), 500):  # PostgreSQL takes 65,535 parameters a statement
        chunk = rows[start : start + 500]
        upsert(db, Metric, chunk, keys=("job", "name", "split", "step"), update=("epoch", "value", "at"))


def forget_metrics(db: Session, job: str) -> None:
    db.execute(delete(Metric).where(Metric.job == job))


# --- workers


def add_worker(db: Session, worker: WorkerProcess) -> None:
    db.add(worker)
    db.flush()


def see_worker(db: Session, worker_id: str, *, warm: bool) -> None:
    db.execute(update(WorkerProcess).where(WorkerProcess.id == worker_id).values(seen_at=now(), warm=warm))


def forget_worker(db: Session, worker_id: str) -> None:
    db.execute(delete(WorkerProcess).where(WorkerProcess.id == worker_id))


def forget_silent_workers(db: Session, silence_s: float) -> None:
    db.execute(delete(WorkerProcess).where(WorkerProcess.seen_at < now() - silence_s))
