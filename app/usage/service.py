"""Quotas: how many bytes the objects of an owner may take together."""

from sqlalchemy.orm import Session

from app.core import errors
from app.usage import repository


def left(db: Session, owner: str, most: int) -> int | None:
    """The number of bytes that the owner may still store, of `most`; None where `most` is 0, which is any number."""
    return max(0, most - repository.stored_bytes(db, owner)) if most else None


def require(db: Session, owner: str, most: int) -> None:
    """After the rows of something new were written, in their transaction.

    Raises:
        QuotaExceeded: the owner has more than `most` bytes now, unless `most` is 0.
    """
    if not most:
        return
    repository.take_turns(db, owner)
    stored = repository.stored_bytes(db, owner)
    if stored > most:
        raise errors.QuotaExceeded(
            f"The owner would store {stored:,} bytes; {most:,} are allowed: delete what is not needed any more."
        )
