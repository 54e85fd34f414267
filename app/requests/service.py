"""Requests that carry an Idempotency-Key: sent again, they get the first answer again and have no second effect.

Claim, effect and answer are one transaction.  So a crash in between leaves nothing behind, and a request that comes
while another process works on the first waits in the database until that is decided.
"""

from typing import NamedTuple

from sqlalchemy.orm import Session

from app.core import errors
from app.requests import repository


class Answer(NamedTuple):
    """An HTTP status and a JSON body."""

    status: int
    body: str


def claim(db: Session, owner: str, key: str, fingerprint: str) -> Answer | None:
    """The first answer; None where this is the first request, which is then to be answered with `remember`.

    Raises:
        IdempotencyMismatch: the first request was another one.
    """
    request = repository.claim(db, owner, key, fingerprint)
    if request.fingerprint != fingerprint:
        raise errors.IdempotencyMismatch(param="Idempotency-Key")
    if request.status is None or request.answer is None:
        return None
    return Answer(request.status, request.answer)


def remember(db: Session, owner: str, key: str, answer: Answer) -> None:
    repository.remember(db, owner, key, answer.status, answer.body)
