"""Steps in a queue, without what they would do: for tests of the queue itself."""

from contextlib import contextmanager

from sqlalchemy import select, text

from app.core import ids
from app.core.status import Status
from app.db.session import Database
from app.db.tables import EventRow, Task
from app.queue import service as queue

LEASE_S = 60.0


def add(database: Database, *, owner: str = "ann", lane: str = "run", needs: tuple[str, ...] = ()) -> str:
    with database.unit_of_work() as db:
        return queue.enqueue(db, id=ids.new("job"), kind="run", lane=lane, owner=owner, needs=needs).id


def claim(database: Database, worker: str = "worker_a", lane: str = "run", lease_s: float = LEASE_S):
    with database.unit_of_work() as db:
        return queue.claim(db, lane, worker=worker, lease_s=lease_s)


def task(database: Database, task_id: str) -> Task:
    with database.reading() as db:
        return db.get_one(Task, task_id)


def events(database: Database, task_id: str) -> list[str]:
    with database.reading() as db:
        return list(db.scalars(select(EventRow.type).where(EventRow.subject == task_id).order_by(EventRow.seq)))


@contextmanager
def held(database: Database, claimed: queue.Claim):
    """(session, the claimed step) in one transaction."""
    with database.unit_of_work() as db:
        yield db, queue.hold(db, claimed)


def finish(database: Database, claimed: queue.Claim) -> None:
    with held(database, claimed) as (db, found):
        queue.succeed(db, found)


def expire(database: Database, task_id: str) -> None:
    """As if the worker had not been heard of for longer than its lease."""
    with database.unit_of_work() as db:
        db.execute(text("UPDATE tasks SET lease_expires_at = 0 WHERE id = :id"), {"id": task_id})


def reap(database: Database) -> list[str]:
    with database.unit_of_work() as db:
        return queue.reap(db)


def ask(database: Database, verb: str, task_id: str) -> Status:
    with database.unit_of_work() as db:
        getattr(queue, verb)(db, task_id)
    return Status(task(database, task_id).status)
