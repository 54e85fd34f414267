"""The SQL of datasets."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.core.status import Status
from app.db import ingested
from app.db.paging import Page
from app.db.tables import DatasetRow, Task


class StoredDataset(NamedTuple):
    """A dataset and the task that ingests it."""

    dataset: DatasetRow
    task: Task


def add(db: Session, dataset: DatasetRow) -> None:
    db.add(dataset)
    db.flush()


def get(db: Session, dataset_id: str) -> DatasetRow | None:
    return db.get(DatasetRow, dataset_id)


def find(db: Session, owner: str, dataset_id: str, *, hold: bool = False) -> StoredDataset | None:
    """The owner's dataset; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    row = ingested.find(db, DatasetRow, owner, dataset_id, hold=hold)
    return row and StoredDataset(*row)


def page(db: Session, owner: str, page: Page, statuses: Collection[Status]) -> list[StoredDataset]:
    """Up to `page.limit + 1` datasets: the one too many says that there are more."""
    return [StoredDataset(*row) for row in ingested.page(db, DatasetRow, owner, page, statuses)]
