"""The SQL of checkpoints."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.status import Status
from app.db.held import held
from app.db.paging import Page, paged
from app.db.tables import CheckpointRow, Task


class StoredCheckpoint(NamedTuple):
    """A checkpoint and the step that ingests it."""

    checkpoint: CheckpointRow
    task: Task


def add(db: Session, checkpoint: CheckpointRow) -> None:
    db.add(checkpoint)
    db.flush()


def get(db: Session, checkpoint_id: str) -> CheckpointRow | None:
    return db.get(CheckpointRow, checkpoint_id)


def find(db: Session, owner: str, checkpoint_id: str, *, hold: bool = False) -> StoredCheckpoint | None:
    """The owner's checkpoint; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(CheckpointRow, Task).join(Task, Task.id == CheckpointRow.id)
    query = query.where(CheckpointRow.id == checkpoint_id, CheckpointRow.owner == owner)
    row = db.execute(held(db, query, CheckpointRow) if hold else query).one_or_none()
    return row and StoredCheckpoint(*row)


def page(db: Session, owner: str, page: Page, statuses: Collection[Status]) -> list[StoredCheckpoint]:
    """Up to `page.limit + 1` checkpoints: the one too many says that there are more."""
    query = select(CheckpointRow, Task).join(Task, Task.id == CheckpointRow.id)
    if statuses:
        query = query.where(Task.status.in_(statuses))
    return [StoredCheckpoint(*row) for row in db.execute(paged(db, query, CheckpointRow, owner, page))]
