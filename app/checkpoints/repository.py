"""The SQL of checkpoints."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.core.status import Status
from app.db import ingested
from app.db.paging import Page
from app.db.tables import CheckpointRow, IdentificationRow, Task


class StoredCheckpoint(NamedTuple):
    """A checkpoint and the task that ingests it."""

    checkpoint: CheckpointRow
    task: Task


def add(db: Session, row: CheckpointRow | IdentificationRow) -> None:
    db.add(row)
    db.flush()


def get(db: Session, checkpoint_id: str) -> CheckpointRow | None:
    return db.get(CheckpointRow, checkpoint_id)


def find(db: Session, owner: str, checkpoint_id: str, *, hold: bool = False) -> StoredCheckpoint | None:
    """The owner's checkpoint; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    row = ingested.find(db, CheckpointRow, owner, checkpoint_id, hold=hold)
    return row and StoredCheckpoint(*row)


def page(db: Session, owner: str, page: Page, statuses: Collection[Status]) -> list[StoredCheckpoint]:
    """Up to `page.limit + 1` checkpoints: the one too many says that there are more."""
    return [StoredCheckpoint(*row) for row in ingested.page(db, CheckpointRow, owner, page, statuses)]


def find_identification(db: Session, owner: str, identification_id: str) -> tuple[IdentificationRow, Task] | None:
    """The owner's identification; somebody else's is as good as none."""
    return ingested.find(db, IdentificationRow, owner, identification_id, hold=False)
