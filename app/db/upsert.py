"""INSERT … ON CONFLICT, which SQLite and PostgreSQL share and SQLAlchemy keeps in two dialects."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.tables import Base

_DIALECTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def upsert(
    db: Session,
    table: type[Base],
    rows: Sequence[Mapping[str, Any]],
    *,
    keys: Sequence[str],
    update: Sequence[str] = (),
) -> None:
    """Insert `rows`; where one with the same `keys` is there, write its columns `update` (none: leave it as it is)."""
    if not rows:
        return
    statement: Any = _DIALECTS[db.get_bind().dialect.name](table).values(rows)
    if update:
        changed = {name: statement.excluded[name] for name in update}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    db.execute(statement)
