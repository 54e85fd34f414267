"""Giving back the room that nothing uses any more.  A worker does it now and then; several may at once."""

import logging
from collections.abc import Callable

from app.blobs.store import Blobs
from app.db.session import Database
from app.removal import repository

log = logging.getLogger(__name__)

GRACE_S = 3600.0  # more than ever lies between the put of a blob and the commit of the row that mentions it
AT_ONCE = 1000  # blobs that share a reading of the clock
REQUEST_LIFETIME_S = 24 * 3600.0


def sweep(
    database: Database, blobs: Blobs, *, grace_s: float = GRACE_S, wanted: Callable[[], bool] = lambda: True
) -> int:
    """Forget what has expired, erase what was thrown away `grace_s` ago, and throw away blobs that no row mentions
    and nobody put within `grace_s`: how many of these.

    Nobody is locked out meanwhile.  A blob that is put, or mentioned by a row, between our look and our deed is in the
    trash then, where it can be read; it comes back when it is, or here, before it could be erased.  Ages of blobs go by
    the store's own clock and those in the trash by the database's: that of the worker does not count.  It stops early
    once it is not `wanted` any more.
    """
    with database.unit_of_work() as db:
        repository.forget_expired(db, request_lifetime_s=REQUEST_LIFETIME_S)
    before = blobs.now() - grace_s
    blobs.delete_unfinished(before)
    _empty_trash(database, blobs, grace_s)
    old = [sha256 for sha256, put_at in blobs.list() if put_at < before]
    with database.reading() as db:  # after the list: what was put since is not on it
        referenced = repository.referenced(db)
    unused = [sha256 for sha256 in old if sha256 not in referenced]
    thrown_away = 0
    for start in range(0, len(unused), AT_ONCE):
        with database.reading() as db:
            now = repository.clock(db)
        for sha256 in unused[start : start + AT_ONCE]:
            put_at = blobs.put_at(sha256)
            if wanted() and put_at is not None and put_at < before:
                blobs.throw_away(sha256, int(now))
                thrown_away += 1
    return thrown_away


def _empty_trash(database: Database, blobs: Blobs, grace_s: float) -> None:
    with database.reading() as db:
        before = repository.clock(db) - grace_s
    thrown_away = [each for each in blobs.trash() if each.at < before]
    with database.reading() as db:  # after the look into the trash: whatever was mentioned since was put since
        referenced = repository.referenced(db) if thrown_away else set()
    for each in thrown_away:
        if each.sha256 in referenced and blobs.put_at(each.sha256) is None:
            log.warning("a blob that had been thrown away is needed after all: %s", each.sha256)
            blobs.restore(each)
        else:
            blobs.erase(each)
