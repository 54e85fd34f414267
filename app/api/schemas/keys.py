"""API keys."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field

from app.api.schemas.common import Name, Object
from app.contract.base import StrictModel
from app.db.tables import KeyRow as Row
from app.keys.service import Scope


class NewKey(StrictModel):
    """`owner` is whose objects the key opens: yours, unless given.  `rate_limit` is in requests a minute; there is none
    unless given.  `expires_at` is before the year 2500."""

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16)] = ["read", "write", "predict"]
    owner: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@+-]{1,64}$")] | None = None
    expires_at: Annotated[AwareDatetime, Field(lt=datetime(2500, 1, 1, tzinfo=UTC))] | None = None
    rate_limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Key(Object):
    """`key` is the secret itself: in the answer to its making, and never again.  `made_by` is the key that made it."""

    object: Literal["key"] = "key"
    name: str
    owner: str
    scopes: list[Scope]
    expires_at: datetime | None
    rate_limit: int | None
    made_by: str | None
    key: str | None = None

    @classmethod
    def of(cls, row: Row, text: str | None = None) -> Self:
        return cls(
            id=row.id,
            created_at=row.created_at,
            name=row.name,
            owner=row.acts_for,
            scopes=row.scopes,
            expires_at=row.expires_at,
            rate_limit=row.rate_limit,
            made_by=row.made_by,
            key=text,
        )
