"""The SQL of the catalogue of networks."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.paging import Page
from app.db.tables import Document, Network
from app.db.upsert import upsert


def get(db: Session, name: str) -> Network | None:
    return db.get(Network, name)


def names(db: Session) -> list[str]:
    return list(db.scalars(select(Network.name)))


def page(db: Session, page: Page, contains: str | None) -> list[Network]:
    """By name; up to `page.limit + 1` entries."""
    query = select(Network)
    if contains:
        query = query.where(Network.name.contains(contains, autoescape=True))
    if page.after is not None:
        query = query.where(Network.name > page.after if page.order == "asc" else Network.name < page.after)
    name = Network.name.asc() if page.order == "asc" else Network.name.desc()
    return list(db.scalars(query.order_by(name).limit(page.limit + 1)))


def replace(db: Session, entries: Sequence[Document]) -> None:
    """Safe when several workers do it at once."""
    upsert(db, Network, entries, keys=("name",), update=("summary", "input", "options", "pretrained"))
    db.execute(delete(Network).where(Network.name.not_in([entry["name"] for entry in entries])))
