"""The SQL of background tasks: arrival, claim, lease, dependencies, their events and metrics."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Case,
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.core import plain
from app.core.status import Status
from app.db.paging import Order
from app.db.session import now
from app.db.tables import Dependency, EventRow, Metric, Task, Turn, WorkerProcess
from app.db.upsert import upsert

HELD = (Status.RUNNING, Status.CANCELLING)  # a worker has the task
WAITING = (Status.QUEUED, Status.PAUSED)
_Text = str | InstrumentedAttribute[str]
POSITION_LIMIT = 1000  # beyond so many before it a task's position is not counted further


def add(db: Session, task: Task) -> None:
    db.add(task)
    db.flush()


def next_seq() -> ScalarSelect[int]:
    return select(func.coalesce(func.max(Task.seq), 0) + 1).scalar_subquery()


def get(db: Session, task_id: str) -> Task | None:
    return db.get(Task, task_id)


def lock(db: Session, task_id: str) -> Task | None:
    """The task, which nobody else changes until the transaction ends."""
    return _lock(db, Task.id == task_id)


def lock_free(db: Session, task_id: str) -> Task | None:
    """The task if nobody else has it locked, locked until the transaction ends."""
    return _lock(db, Task.id == task_id, skip_locked=True)


def lock_held(db: Session, task_id: str, token: str) -> Task | None:
    """The task if the claim still holds, locked: nobody else changes it until the transaction ends."""
    return _lock(db, Task.id == task_id, Task.lease_token == token, Task.status.in_(HELD))


def lock_expired(db: Session, task_id: str) -> Task | None:
    """The task if its lease has run out and nobody else has it locked, locked until the transaction ends."""
    return _lock(db, Task.id == task_id, Task.status.in_(HELD), Task.lease_expires_at < now(), skip_locked=True)


def _lock(db: Session, *criteria: ColumnElement[bool], skip_locked: bool = False) -> Task | None:
    query = select(Task).where(*criteria).with_for_update(skip_locked=skip_locked)
    query = query.execution_options(populate_existing=True)
    return db.scalars(query).one_or_none()


def position() -> Case[int | None]:
    """The number of tasks of its lane that are before the `Task` of the enclosing query: those that came before it, but
    for its owner's of a higher rank, and its owner's later ones of a lower rank.  Null unless it is queued."""
    other = aliased(Task)
    waits = select(literal(1)).where(other.lane == Task.lane, other.status == Status.QUEUED)
    theirs = or_(other.owner != Task.owner, other.rank <= Task.rank)
    own = and_(other.owner == Task.owner, other.blocked.in_((False, True)), other.rank < Task.rank)
    parts = (waits.where(other.seq < Task.seq, theirs), waits.where(own, other.seq > Task.seq))
    counts = [select(func.count()).select_from(part.correlate(Task).limit(POSITION_LIMIT).subquery()) for part in parts]
    return case((Task.status == Status.QUEUED, counts[0].scalar_subquery() + counts[1].scalar_subquery()))


def unfinished(db: Session, owner: str, lane: str) -> int:
    """Tasks of the owner in the lane that have not ended."""
    count = select(func.count()).where(Task.lane == lane, Task.owner == owner, Task.status.in_((*HELD, *WAITING)))
    return db.scalar(count) or 0


class Pace(NamedTuple):
    """The workers that live; the seconds that each running task of a lane says it has left; and the seconds that the
    last ones ran that have succeeded."""

    workers: int
    running: list[float | None]
    ended: list[float]


def pace(db: Session, lane: str, recent: int) -> Pace:
    """The pace of a lane, by its last `recent` tasks."""
    workers = db.scalar(select(func.count()).select_from(WorkerProcess)) or 0
    running = list(db.scalars(select(Task.eta_s).where(Task.lane == lane, Task.status.in_(HELD))))
    ended = select(Task.finished_at - Task.started_at).where(Task.lane == lane, Task.status == Status.SUCCEEDED)
    ended = ended.where(Task.started_at.is_not(None)).order_by(Task.seq.desc()).limit(recent)
    return Pace(workers, running, [float(seconds) for seconds in db.scalars(ended) if seconds is not None])


def ran() -> ColumnElement[float]:
    """Seconds that the held `Task` has run in all, with the attempt that ends now: that of a lost worker counts until
    its lease ran out."""
    until = case((Task.lease_expires_at < now(), Task.lease_expires_at), else_=now())
    return Task.ran_s + func.coalesce(until - Task.started_at, 0.0)


# --- claim and lease


def wake(db: Session, lane: str, owner: str) -> None:
    """The owner has a task that can start, or soon can.

    Call it after all that locks tasks: claimers lock an owner's turn first, and then wait for nothing.  It writes
    where nothing changes, too: a claimer that is about to write that the owner has none is waited for.
    """
    turn = {"lane": lane, "owner": owner, "last_started_at": 0.0, "ready_at": now()}
    upsert(db, Turn, [turn], keys=("lane", "owner"), update=("ready_at",))


def wake_all(db: Session) -> None:
    """Wake every owner that has tasks that can start, by what the tasks themselves say."""
    ready = exists().where(_startable(Turn.lane, Turn.owner)).correlate(Turn)
    woken = update(Turn).where(Turn.ready_at.is_(None), ready).values(ready_at=now())
    db.execute(woken, execution_options={"synchronize_session": False})


def any_ready(db: Session, lane: str) -> bool:
    return db.scalar(_ready(lane).limit(1)) is not None


def next_turn(db: Session, lane: str, *, wait: bool) -> str | None:
    """The owner whose last task began longest ago, of those that may have one to start; its turn is locked.

    Turns that other claimers have at the moment are passed over.  Where there are no others one is waited for, if
    `wait`: only a transaction that has locked no turn yet may.
    """
    turns = _ready(lane).order_by(Turn.last_started_at, Turn.owner).limit(1)
    owner = db.scalar(turns.with_for_update(skip_locked=True))
    return db.scalar(turns.with_for_update()) if owner is None and wait else owner


def put_off(db: Session, lane: str, owner: str) -> None:
    """The owner, whose turn is locked, has nothing that can start before the time that is written down now."""
    first = select(func.min(Task.available_at)).where(_startable(lane, owner)).scalar_subquery()
    turn = update(Turn).where(Turn.lane == lane, Turn.owner == owner).values(ready_at=first)
    db.execute(turn, execution_options={"synchronize_session": False})


def _ready(lane: str) -> Select[str]:
    return select(Turn.owner).where(Turn.lane == lane, Turn.ready_at.is_not(None), Turn.ready_at <= now())


def _startable(lane: _Text, owner: _Text) -> ColumnElement[bool]:
    return and_(Task.lane == lane, Task.owner == owner, Task.status == Status.QUEUED, Task.blocked.is_(False))


def claim(
    db: Session, lane: str, owner: str, *, worker: str, token: str, lease_s: float, max_attempts: int
) -> Task | None:
    """Give the first task that can start of the owner, whose turn is locked, to `worker`, in one statement."""
    first = (
        select(Task.id)
        .where(_startable(lane, owner), Task.available_at <= now())
        .order_by(Task.rank, Task.seq)
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
        more = exists().where(_startable(lane, owner))
        ready_at = case((more, Turn.ready_at), else_=None)
        turn = update(Turn).where(Turn.lane == lane, Turn.owner == owner)
        turn = turn.values(last_started_at=now(), ready_at=ready_at)
        db.execute(turn, execution_options={"synchronize_session": False})
    return task


def standing(db: Session, task_id: str, token: str) -> tuple[str, str | None] | None:
    """Status and wish, None if the claim no longer holds."""
    query = select(Task.status, Task.requested)
    row = db.execute(query.where(Task.id == task_id, Task.lease_token == token, Task.status.in_(HELD))).one_or_none()
    return row and (row.status, row.requested)


def renew(db: Session, task_id: str, token: str, lease_s: float) -> tuple[str, str | None] | None:
    """Status and wish, None if the claim no longer holds; prolongs the lease in the same statement."""
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
    """First those that end, which locks what waits for them, then the others, in the order of their owners' turns."""
    query = select(Task.id).where(Task.status.in_(HELD), Task.lease_expires_at < now())
    goes_on = and_(Task.status == Status.RUNNING, Task.attempt < Task.max_attempts)
    return list(db.scalars(query.order_by(goes_on, Task.lane, Task.owner, Task.seq)))


def tokens(db: Session) -> set[str]:
    return {token for token in db.scalars(select(Task.lease_token).where(Task.status.in_(HELD))) if token}


# --- dependencies


def depend(db: Session, dependent: str, needs: Collection[str]) -> None:
    rows = [{"dependent": dependent, "needs": needed} for needed in dict.fromkeys(needs)]
    upsert(db, Dependency, rows, keys=("dependent", "needs"))


def release(db: Session, dependent: str, needed: str) -> None:
    db.execute(delete(Dependency).where(Dependency.dependent == dependent, Dependency.needs == needed))


def needs(db: Session, dependent: str) -> list[str]:
    return list(
        db.scalars(select(Dependency.needs).where(Dependency.dependent == dependent).order_by(Dependency.needs))
    )


def lock_needs(db: Session, dependent: str) -> list[Task]:
    """The tasks of what `dependent` needs, as they stand; none of them changes until the transaction ends."""
    query = select(Task).join(Dependency, Dependency.needs == Task.id).where(Dependency.dependent == dependent)
    query = query.order_by(Task.id).with_for_update(read=True, of=Task)
    return list(db.scalars(query.execution_options(populate_existing=True)))


def lock_waiting(db: Session, needed: str, limit: int) -> list[Task]:
    """Up to `limit` tasks that cannot start before `needed` has succeeded."""
    query = select(Task).join(Dependency, Dependency.dependent == Task.id).where(Dependency.needs == needed)
    query = query.where(Task.status.in_(WAITING), Task.blocked.is_(True)).order_by(Task.id).limit(limit)
    return list(db.scalars(query.with_for_update(of=Task).execution_options(populate_existing=True)))


def unblock(db: Session, needed: str) -> list[tuple[str, str]]:
    """`needed` has succeeded: the lanes and owners of the tasks that need nothing else now, in order.

    They are locked first and looked at then: of two needs that succeed at once the later one sees the other.
    """
    waiting = select(Task.id).join(Dependency, Dependency.dependent == Task.id).where(Dependency.needs == needed)
    waiting = waiting.where(Task.status.in_(WAITING), Task.blocked.is_(True)).order_by(Task.id)
    if not db.scalars(waiting.with_for_update(of=Task)).all():
        return []
    need, need_task = aliased(Dependency), aliased(Task)
    unmet = exists().where(need.dependent == Task.id, need_task.id == need.needs, need_task.status != Status.SUCCEEDED)
    mine = select(Dependency.dependent).where(Dependency.needs == needed)
    freed = (
        update(Task)
        .where(Task.id.in_(mine), Task.blocked.is_(True), Task.status.in_(WAITING), ~unmet.correlate(Task))
        .values(blocked=False)
        .returning(Task.lane, Task.owner, Task.status)
        .execution_options(synchronize_session=False)
    )
    return sorted({(lane, owner) for lane, owner, status in db.execute(freed) if status == Status.QUEUED})


def any_cascading(db: Session) -> bool:
    return db.scalar(select(Task.id).where(Task.cascading).limit(1)) is not None


def lock_cascading(db: Session) -> Task | None:
    """An ended task some of whose dependents have yet to fail; None too where others are at work on all of them."""
    query = select(Task).where(Task.cascading).order_by(Task.id).limit(1)
    return db.scalars(query.with_for_update(skip_locked=True).execution_options(populate_existing=True)).one_or_none()


def forget(db: Session, object_id: str) -> None:
    for statement in (
        delete(Dependency).where(Dependency.dependent == object_id),
        delete(Task).where(Task.id == object_id),
        delete(EventRow).where(EventRow.subject == object_id),
        delete(Metric).where(Metric.job == object_id),
    ):
        db.execute(statement)


# --- what a task says


def add_events(db: Session, subject: str, notes: Sequence[Mapping[str, Any]]) -> None:
    """`notes`: {level, type, message, data}.  The caller has locked the task, so its events are numbered in order."""
    rows = [
        {"subject": subject, **note, "message": plain.text(note["message"]), "data": plain.document(note["data"])}
        for note in notes
    ]
    if rows:
        db.execute(insert(EventRow).values(at=now()), rows)


def events(db: Session, subject: str, *, after: int | None, order: Order, limit: int) -> list[EventRow]:
    query = select(EventRow).where(EventRow.subject == subject)
    if after is not None:
        query = query.where(EventRow.seq > after if order == "asc" else EventRow.seq < after)
    return list(db.scalars(query.order_by(EventRow.seq.asc() if order == "asc" else EventRow.seq.desc()).limit(limit)))


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
