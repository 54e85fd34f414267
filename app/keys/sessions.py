"""The rules of browser sessions: begun with a key, ended with it; the cookie's text is stored hashed.

A browser sends the cookie with whatever makes it ask.  So what changes anything has to come from a page of this server,
by its `Origin`, and to show a token that only such a page knows.
"""

import hashlib
import hmac
import secrets
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from app.core import errors
from app.db.session import now
from app.db.tables import BrowserSession
from app.keys import repository, service
from app.keys.service import Identity

COOKIE = "regraft_session"
TOKEN_HEADER = "X-Regraft-Token"
LIFETIME_S = 30 * 24 * 3600.0
MOST = 64  # of a key: whoever signs in once more is signed out where that was longest ago


class BrowserRequest(NamedTuple):
    """The parts of a browser's request that prove where it comes from."""

    cookie: str
    origin: str
    host: str
    token: str


def begin(db: Session, identity: Identity) -> str:
    """The cookie's text of a session that may do what the key of this identity may."""
    repository.forget_ended_sessions(db)
    cookie = secrets.token_urlsafe(32)
    repository.add_session(db, BrowserSession(sha256=_sha256(cookie), key=identity.key, expires_at=now() + LIFETIME_S))
    repository.keep_newest_sessions(db, identity.key, MOST)
    return cookie


def identify(db: Session, cookie: str) -> Identity:
    """
    Raises:
        Unauthenticated: the session has ended, or its key is no longer good.
    """
    key_id = repository.session_key(db, _sha256(cookie))
    if key_id is None:
        raise errors.Unauthenticated("This session has ended: sign in again.")
    return service.identify(db, key_id)


def end(db: Session, cookie: str) -> None:
    repository.end_session(db, _sha256(cookie))


def token(cookie: str) -> str:
    """The token that pages of the session put into their forms."""
    return hmac.new(cookie.encode(), b"form", hashlib.sha256).hexdigest()


def require_own_page(asked: BrowserRequest) -> None:
    """
    Raises:
        CrossSite: the request does not come from a page of this server.
    """
    require_own_origin(asked.origin, asked.host)
    if not hmac.compare_digest(asked.token.encode(), token(asked.cookie).encode()):
        raise errors.CrossSite(f"The request has not the token of its session: pages send it as `{TOKEN_HEADER}`.")


def require_own_origin(origin: str, host: str) -> None:
    """
    Raises:
        CrossSite: the request does not come from a page of this server.
    """
    try:
        own = bool(host) and urlsplit(origin).netloc == host
    except ValueError:  # no address at all
        own = False
    if not own:
        raise errors.CrossSite("The request's `Origin` is not this server.")


def _sha256(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
