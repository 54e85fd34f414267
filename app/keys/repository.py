"""The SQL of keys."""

from typing import NamedTuple

from sqlalchemy import exists, func, select, text, update
from sqlalchemy.orm import Session

from app.db.paging import Page, paged
from app.db.session import now
from app.db.tables import Key


class Found(NamedTuple):
    key: Key
    expired: bool


def add(db: Session, key: Key) -> None:
    db.add(key)
    db.flush()


def get(db: Session, key_id: str) -> Found | None:
    query = select(Key, func.coalesce(Key.expires_at <= now(), False).label("expired")).where(Key.id == key_id)
    row = db.execute(query).one_or_none()
    return row and Found(row[0], bool(row[1]))


def find(db: Session, maker: str, key_id: str) -> Key | None:
    """A key that `maker` made and that was not revoked."""
    query = select(Key).where(Key.id == key_id, Key.owner == maker, Key.revoked_at.is_(None))
    return db.scalars(query).one_or_none()


def page(db: Session, maker: str, page: Page) -> list[Key]:
    """Up to `page.limit + 1` keys that were not revoked: the one too many says that there are more."""
    return list(db.scalars(paged(db, select(Key).where(Key.revoked_at.is_(None)), Key, maker, page)))


def revoke(db: Session, maker: str, key_id: str) -> bool:
    """Whether there was such a key."""
    mine = update(Key).where(Key.id == key_id, Key.owner == maker, Key.revoked_at.is_(None))
    return db.scalar(mine.values(revoked_at=now()).returning(Key.id)) is not None


def lock_empty(db: Session) -> bool:
    """Whether there is no key at all; if so, nobody else makes one until the transaction ends."""
    if db.get_bind().dialect.name == "postgresql":  # on SQLite a write transaction is alone in any case
        db.execute(text("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE"))
    return not db.scalar(select(exists().where(Key.id.is_not(None))))
