"""The SQL of checkpoints."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.status import Status
from app.db.held import held
from app.db.paging import Page, paged
from app.db.tables import Checkpoint, Task


class Stored(NamedTuple):
    """A checkpoint and the step that ingests it."""

    checkpoint: Checkpoint
    task: Task


def add(db: Session, checkpoint: Checkpoint) -> None:
    db.add(checkpoint)
    db.flush()


def get(db: Session, checkpoint_id: str) -> Checkpoint | None:
    return db.get(Checkpoint, checkpoint_id)


def find(db: Session, owner: str, checkpoint_id: str, *, hold: bool = False) -> Stored | None:
    """The owner's checkpoint; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(Checkpoint, Task).join(Task, Task.id == Checkpoint.id)
    query = query.where(Checkpoint.id == checkpoint_id, Checkpoint.owner == owner)
    row = db.execute(held(db, query, Checkpoint) if hold else query).one_or_none()
    return row and Stored(*row)


def page(db: Session, owner: str, page: Page, statuses: Collection[Status]) -> list[Stored]:
    """Up to `page.limit + 1` checkpoints: the one too many says that there are more."""
    query = select(Checkpoint, Task).join(Task, Task.id == Checkpoint.id)
    if statuses:
        query = query.where(Task.status.in_(statuses))
    return [Stored(*row) for row in db.execute(paged(db, query, Checkpoint, owner, page))]
