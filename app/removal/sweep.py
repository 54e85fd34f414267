"""Giving back the room that nothing uses any more.  A worker does it now and then; several may at once."""

import time

from app.blobs.store import Blobs
from app.db.session import Database
from app.removal import repository

GRACE_S = 3600.0  # more than ever lies between the put of a blob and the commit of the row that mentions it
REQUEST_LIFETIME_S = 24 * 3600.0


def sweep(database: Database, blobs: Blobs, *, grace_s: float = GRACE_S) -> int:
    """Forget what has expired, then delete blobs that no row mentions and nobody put within `grace_s`: how many."""
    with database.unit_of_work() as db:
        repository.forget_expired(db, request_lifetime_s=REQUEST_LIFETIME_S)
    before = time.time() - grace_s
    blobs.delete_unfinished(before)
    old = [sha256 for sha256, put_at in blobs.list() if put_at < before]
    with database.reading() as db:  # after the list: what was put since is not on it
        referenced = repository.referenced(db)
    return sum(_delete(blobs, sha256, before) for sha256 in old if sha256 not in referenced)


def _delete(blobs: Blobs, sha256: str, before: float) -> bool:
    put_at = blobs.put_at(sha256)
    if put_at is None or put_at >= before:  # it was put again meanwhile, and a row is to follow
        return False
    blobs.delete(sha256)
    return True
