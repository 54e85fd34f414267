"""The SQL of datasets."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.status import Status
from app.db.held import held
from app.db.paging import Page, paged
from app.db.tables import Dataset, Task


class Stored(NamedTuple):
    """A dataset and the step that ingests it."""

    dataset: Dataset
    task: Task


def add(db: Session, dataset: Dataset) -> None:
    db.add(dataset)
    db.flush()


def get(db: Session, dataset_id: str) -> Dataset | None:
    return db.get(Dataset, dataset_id)


def find(db: Session, owner: str, dataset_id: str, *, hold: bool = False) -> Stored | None:
    """The owner's dataset; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(Dataset, Task).join(Task, Task.id == Dataset.id)
    query = query.where(Dataset.id == dataset_id, Dataset.owner == owner)
    row = db.execute(held(db, query, Dataset) if hold else query).one_or_none()
    return row and Stored(*row)


def page(db: Session, owner: str, page: Page, statuses: Collection[Status]) -> list[Stored]:
    """Up to `page.limit + 1` datasets: the one too many says that there are more."""
    query = select(Dataset, Task).join(Task, Task.id == Dataset.id)
    if statuses:
        query = query.where(Task.status.in_(statuses))
    return [Stored(*row) for row in db.execute(paged(db, query, Dataset, owner, page))]
