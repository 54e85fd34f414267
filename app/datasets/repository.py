"""The SQL of datasets."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.status import Status
from app.db.held import held
from app.db.paging import Page, paged
from app.db.tables import DatasetRow, Task


class StoredDataset(NamedTuple):
    """A dataset and the step that ingests it."""

    dataset: DatasetRow
    task: Task


def add(db: Session, dataset: DatasetRow) -> None:
    db.add(dataset)
    db.flush()


def get(db: Session, dataset_id: str) -> DatasetRow | None:
    return db.get(DatasetRow, dataset_id)


def find(db: Session, owner: str, dataset_id: str, *, hold: bool = False) -> StoredDataset | None:
    """The owner's dataset; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(DatasetRow, Task).join(Task, Task.id == DatasetRow.id)
    query = query.where(DatasetRow.id == dataset_id, DatasetRow.owner == owner)
    row = db.execute(held(db, query, DatasetRow) if hold else query).one_or_none()
    return row and StoredDataset(*row)


def page(db: Session, owner: str, page: Page, statuses: Collection[Status]) -> list[StoredDataset]:
    """Up to `page.limit + 1` datasets: the one too many says that there are more."""
    query = select(DatasetRow, Task).join(Task, Task.id == DatasetRow.id)
    if statuses:
        query = query.where(Task.status.in_(statuses))
    return [StoredDataset(*row) for row in db.execute(paged(db, query, DatasetRow, owner, page))]
