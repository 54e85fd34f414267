"""Queries that checkpoints and datasets share: an object, and the task that ingests it under the object's id."""

from collections.abc import Collection
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.status import Status
from app.db.held import held
from app.db.paging import Page, paged
from app.db.tables import Owned, Task

Row = TypeVar("Row", bound=Owned)


def find(db: Session, table: type[Row], owner: str, object_id: str, *, hold: bool) -> tuple[Row, Task] | None:
    """The owner's object; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(table, Task).join(Task, Task.id == table.id).where(table.id == object_id, table.owner == owner)
    row = db.execute(held(db, query, table) if hold else query).one_or_none()
    return row and (row[0], row[1])


def page(db: Session, table: type[Row], owner: str, page: Page, statuses: Collection[Status]) -> list[tuple[Row, Task]]:
    """Up to `page.limit + 1` objects: the one too many says that there are more."""
    query = select(table, Task).join(Task, Task.id == table.id)
    if statuses:
        query = query.where(Task.status.in_(statuses))
    return [(row[0], row[1]) for row in db.execute(paged(db, query, table, owner, page))]
