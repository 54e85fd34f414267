"""Tasks that no worker runs: a controller moves them on by what has become of others, one transaction a move."""

from collections.abc import Collection
from typing import Literal

from sqlalchemy.orm import Session

from app.core.status import Status
from app.db.session import now
from app.db.tables import Task
from app.queue import repository, service

LANE: Literal["control"] = "control"  # which no worker works on


def begin(db: Session, *, id: str, kind: str, owner: str, needs: Collection[str]) -> Task:
    """The task of the object `id`, under way at once; all that it `needs` is ready, and kept from being deleted."""
    task = service.enqueue(db, id=id, kind=kind, lane=LANE, owner=owner, needs=needs)
    start(db, task)
    return task


def start(db: Session, task: Task) -> None:
    """`task` has waited for what it needs, and is under way now."""
    task.status, task.started_at = Status.RUNNING, now()
    service.note(db, task.id, Status.RUNNING, "Under way.", data={"status": Status.RUNNING.value})
    db.flush()


def lock(db: Session, task_id: str) -> Task | None:
    """The task, which nobody else moves until the transaction ends; None where somebody is about to."""
    return repository.lock_free(db, task_id)
