"""Keyset pagination over (created_at, id): stable while rows come and go, the last page as fast as the first."""

from dataclasses import dataclass
from typing import Literal, TypeVarTuple

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from app.core import errors
from app.db.tables import Owned, Task

Row = TypeVarTuple("Row")
Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class Page:
    """The part of a list that is asked for: up to `limit` objects that come after the object `after`."""

    limit: int = 20
    after: str | None = None
    order: Order = "desc"


def paged(
    db: Session, query: Select[*Row], table: type[Owned] | type[Task], owner: str | Select[str], page: Page
) -> Select[*Row]:
    """`query` over the rows of `table` of an owner, or of several that a query gives, narrowed to the page and one
    more, which says that there are more.

    Raises:
        Invalid: the owner has no object `after`.
    """
    owned = table.owner == owner if isinstance(owner, str) else table.owner.in_(owner)
    query = query.where(owned)
    key = tuple_(table.created_at, table.id)
    if page.after is not None:
        created_at = db.scalar(select(table.created_at).where(table.id == page.after, owned))
        if created_at is None:
            raise errors.Invalid(f"There is no object {page.after} to go on after.", param="after")
        cursor = tuple_(created_at, page.after)
        query = query.where(key > cursor if page.order == "asc" else key < cursor)
    columns = (table.created_at, table.id)
    return query.order_by(*(c.asc() if page.order == "asc" else c.desc() for c in columns)).limit(page.limit + 1)
