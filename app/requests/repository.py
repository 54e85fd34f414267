"""The SQL of remembered requests."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.session import now
from app.db.tables import IdempotentRequest
from app.db.upsert import upsert


def claim(db: Session, owner: str, key: str, fingerprint: str) -> IdempotentRequest:
    """The row of the key, made now unless it is there; one that another transaction is making is waited for."""
    row = {"owner": owner, "key": key, "fingerprint": fingerprint, "claimed_at": now()}
    upsert(db, IdempotentRequest, [row], keys=("owner", "key"))
    return db.get_one(IdempotentRequest, (owner, key))


def remember(db: Session, owner: str, key: str, status: int, answer: str) -> None:
    mine = (IdempotentRequest.owner == owner, IdempotentRequest.key == key)
    db.execute(update(IdempotentRequest).where(*mine).values(status=status, answer=answer))
