"""The SQL of the catalogue of networks."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.paging import Page
from app.db.tables import Document, NetworkRow
from app.db.upsert import upsert


def get(db: Session, name: str) -> NetworkRow | None:
    return db.get(NetworkRow, name)


def names(db: Session) -> list[str]:
    return list(db.scalars(select(NetworkRow.name)))


def page(db: Session, page: Page, contains: str | None) -> list[NetworkRow]:
    """A page of networks by name; up to `page.limit + 1` entries."""
    query = select(NetworkRow)
    if contains:
        query = query.where(NetworkRow.name.contains(contains, autoescape=True))
    if page.after is not None:
        query = query.where(NetworkRow.name > page.after if page.order == "asc" else NetworkRow.name < page.after)
    name = NetworkRow.name.asc() if page.order == "asc" else NetworkRow.name.desc()
    return list(db.scalars(query.order_by(name).limit(page.limit + 1)))


def replace(db: Session, entries: Sequence[Document]) -> None:
    """Safe when several workers do it at once."""
    upsert(db, NetworkRow, entries, keys=("name",), update=("summary", "input", "options", "pretrained"))
    db.execute(delete(NetworkRow).where(NetworkRow.name.not_in([entry["name"] for entry in entries])))
