"""The SQL of keys."""

from typing import NamedTuple

from sqlalchemy import Select, String, Text, case, cast, delete, exists, func, literal, select, text, update
from sqlalchemy.orm import Session

from app.db.paging import Page, paged
from app.db.session import now
from app.db.tables import BrowserSession, KeyRow, Rate
from app.db.upsert import upsert


class StoredKey(NamedTuple):
    key: KeyRow
    expired: bool


def add(db: Session, key: KeyRow) -> None:
    db.add(key)
    db.flush()


def get(db: Session, key_id: str) -> StoredKey | None:
    query = select(KeyRow, func.coalesce(KeyRow.expires_at <= now(), False).label("expired")).where(KeyRow.id == key_id)
    row = db.execute(query).one_or_none()
    return row and StoredKey(row[0], bool(row[1]))


def find(db: Session, owner: str, key_id: str) -> KeyRow | None:
    """A key that the owner may see, see `_makers`, and that was not revoked."""
    query = select(KeyRow).where(KeyRow.id == key_id, KeyRow.owner.in_(_makers(owner)), KeyRow.revoked_at.is_(None))
    return db.scalars(query).one_or_none()


def page(db: Session, owner: str, page: Page) -> list[KeyRow]:
    """Up to `page.limit + 1` keys that the owner may see and that were not revoked: the one too many says that there
    are more."""
    return list(db.scalars(paged(db, select(KeyRow).where(KeyRow.revoked_at.is_(None)), KeyRow, _makers(owner), page)))


def revoke(db: Session, owner: str, key_id: str) -> bool:
    """Revoke a key, and tell whether there was such a one, see `find`."""
    revocation = update(KeyRow).where(
        KeyRow.id == key_id, KeyRow.owner.in_(_makers(owner)), KeyRow.revoked_at.is_(None)
    )
    return db.scalar(revocation.values(revoked_at=now()).returning(KeyRow.id)) is not None


def revoke_made(db: Session, key_id: str) -> None:
    """All keys that the key has made, those that these have made, and so on."""
    descendants = select(KeyRow.id).where(KeyRow.made_by == key_id).cte("made", recursive=True)
    descendants = descendants.union(select(KeyRow.id).where(KeyRow.made_by == descendants.c.id))
    db.execute(
        update(KeyRow)
        .where(KeyRow.id.in_(select(descendants.c.id)), KeyRow.revoked_at.is_(None))
        .values(revoked_at=now())
    )


def spend(db: Session, key_id: str, each_s: float, burst_s: float) -> float:
    """Take a request's time, `each_s`, off what the key has, which is `burst_s` at most.

    0 if there was as much; else the seconds until there is, and nothing was taken.
    """
    upsert(db, Rate, [{"key": key_id, "spent_until": 0}], keys=("key",))
    begins = case((Rate.spent_until > now(), Rate.spent_until), else_=now())
    room = begins + each_s - now() <= burst_s
    taken = update(Rate).where(Rate.key == key_id, room).values(spent_until=begins + each_s).returning(Rate.key)
    if db.scalar(taken) is not None:
        return 0.0
    return float(db.scalar(select(Rate.spent_until + each_s - now() - burst_s).where(Rate.key == key_id)) or 0.0)


def _makers(owner: str) -> Select[str]:
    """Owners whose keys the owner may see: itself, those for whom it made admin keys, those for whom these did, …

    So a key that an administrator made stays in sight of whoever made the administrator's, whatever becomes of that.
    """
    makers = select(cast(literal(owner), String(64)).label("owner")).cte("makers", recursive=True)
    admins = select(KeyRow.acts_for).where(KeyRow.owner == makers.c.owner, cast(KeyRow.scopes, Text).like('%"admin"%'))
    return select(makers.union(admins).c.owner)


def lock_empty(db: Session) -> bool:
    """Tell whether there is no key at all; if so, nobody else makes one until the transaction ends."""
    if db.get_bind().dialect.name == "postgresql":  # on SQLite a write transaction is alone in any case
        db.execute(text("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE"))
    return not db.scalar(select(exists().where(KeyRow.id.is_not(None))))


def add_session(db: Session, session: BrowserSession) -> None:
    db.add(session)
    db.flush()


def session_key(db: Session, sha256: str) -> str | None:
    """The key that the session was begun with; None where there is none, or it has ended."""
    query = select(BrowserSession.key).where(BrowserSession.sha256 == sha256, BrowserSession.expires_at > now())
    return db.scalar(query)


def end_session(db: Session, sha256: str) -> None:
    db.execute(delete(BrowserSession).where(BrowserSession.sha256 == sha256))


def keep_newest_sessions(db: Session, key: str, most: int) -> None:
    """End all sessions of the key but the `most` that will end last."""
    newest = select(BrowserSession.sha256).where(BrowserSession.key == key)
    newest = newest.order_by(BrowserSession.expires_at.desc(), BrowserSession.sha256).limit(most)
    of_the_key = delete(BrowserSession).where(BrowserSession.key == key)
    db.execute(of_the_key.where(BrowserSession.sha256.not_in(newest.scalar_subquery())))


def forget_ended_sessions(db: Session) -> None:
    db.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now()))
