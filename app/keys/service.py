"""The rules of API keys: shown once, stored hashed; scopes and an owner each, and a limit of requests."""

import hmac
import math
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from sqlalchemy.orm import Session

from app.core import errors, ids
from app.db.paging import Page
from app.db.session import Database, now
from app.db.tables import KeyRow
from app.keys import repository, tokens
from app.keys.repository import StoredKey

Scope = Literal["read", "write", "predict", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
FIRST_OWNER = "admin"
MINUTE_S = 60.0


class Issued(NamedTuple):
    """A key that was just made, and its text, which nobody sees again."""

    key: KeyRow
    text: str


@dataclass(frozen=True)
class Identity:
    """The identity of a caller: `owner` is whose objects the key opens; `rate_limit` in requests a minute, where there
    is one."""

    key: str
    owner: str
    scopes: frozenset[str]
    rate_limit: int | None = None


def authenticate(db: Session, text: str) -> Identity:
    """One statement; none for what is no key.

    Raises:
        Unauthenticated: there is no such key, or it has expired or was revoked.
    """
    token = tokens.parse(text)
    row = token and repository.get(db, token.key_id)
    if not token or not row or not hmac.compare_digest(row.key.sha256, token.sha256):
        raise errors.Unauthenticated("There is no such API key.")
    return _valid(row)


def identify(db: Session, key_id: str) -> Identity:
    """The identity of a caller who has shown the key before.

    Raises:
        Unauthenticated: it is gone, has expired or was revoked.
    """
    row = repository.get(db, key_id)
    if row is None:
        raise errors.Unauthenticated("There is no such API key.")
    return _valid(row)


def _valid(row: StoredKey) -> Identity:
    if row.key.revoked_at is not None:
        raise errors.Unauthenticated("This API key was revoked.")
    if row.expired:
        raise errors.Unauthenticated("This API key has expired.")
    return Identity(row.key.id, row.key.acts_for, frozenset(row.key.scopes), row.key.rate_limit)


def alive(db: Session, key_id: str) -> bool:
    """Tell whether a key has neither been revoked nor expired."""
    row = repository.get(db, key_id)
    return row is not None and row.key.revoked_at is None and not row.expired


def spend(database: Database, identity: Identity) -> None:
    """One request of the key's limit, which is counted in the database, for all processes: after a pause of a minute as
    many come at once as it allows, then evenly.

    Raises:
        RateLimited: there is none left; it says when there is.
    """
    if identity.rate_limit is None:
        return
    with database.unit_of_work(counted=False) as db:
        left_s = repository.spend(db, identity.key, MINUTE_S / identity.rate_limit, MINUTE_S)
    if left_s > 0:
        message = f"This key is good for {identity.rate_limit:,} requests a minute."
        raise errors.RateLimited(message, retry_after_s=math.ceil(left_s))


def create(
    db: Session,
    maker: str,
    *,
    name: str,
    scopes: Collection[Scope],
    owner: str | None = None,
    expires_at: datetime | None = None,
    rate_limit: int | None = None,
    made_by: str | None = None,
) -> Issued:
    """A key that opens the objects of `owner`, the maker's unless given; the maker lists and revokes it, and so does
    whoever made the maker's own keys.  `made_by` is the key that asks for it."""
    token = tokens.new(ids.new("key"))
    key = KeyRow(
        id=token.key_id,
        owner=maker,
        acts_for=owner or maker,
        created_at=now(),
        name=name,
        sha256=token.sha256,
        scopes=[scope for scope in SCOPES if scope in scopes],
        expires_at=expires_at and expires_at.timestamp(),
        rate_limit=rate_limit,
        made_by=made_by,
    )
    repository.add(db, key)
    return Issued(key, token.text)


def get(db: Session, maker: str, key_id: str) -> KeyRow:
    """
    Raises:
        NotFound: the owner may see no such key, or it was revoked.
    """
    key = repository.find(db, maker, key_id)
    if key is None:
        raise errors.NotFound(f"There is no key {key_id}.")
    return key


def page(db: Session, maker: str, page: Page) -> list[KeyRow]:
    return repository.page(db, maker, page)


def revoke(db: Session, maker: str, key_id: str, *, cascade: bool = False) -> None:
    """Revoke a key from the next request on; with `cascade` all keys that it made, too, those that these made, and so
    on.

    Raises:
        NotFound: the owner may see no such key, or it was revoked.
    """
    if not repository.revoke(db, maker, key_id):
        raise errors.NotFound(f"There is no key {key_id}.")
    if cascade:
        repository.revoke_made(db, key_id)


def ensure_first(db: Session, file: Path) -> None:
    """Make a key that may do everything if there is no key at all, and leave it in `file`, for its owner's eyes.

    The file is there before the transaction ends: a crash in between leaves a file that opens nothing, and the next
    start writes it anew.
    """
    if repository.lock_empty(db):
        renew_first(db, file)


def renew_first(db: Session, file: Path) -> None:
    """Make a key that may do everything, whatever keys there are, and leave it in `file`, for its owner's eyes."""
    issued = create(db, FIRST_OWNER, name="first key", scopes=SCOPES)
    _write(file, issued.text)


def _write(file: Path, text: str) -> None:
    """Whole or not at all, with mode 600 from its first moment."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as temporary:
            temporary.write(f"{text}\n")
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
