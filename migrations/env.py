"""Alembic runs this for every command."""

from contextlib import closing

from alembic import context
from sqlalchemy import Connection, text

from app.db.session import Database
from app.db.tables import Base

LOCK = 0x72656772616674  # "regraft"


def run(connection: Connection) -> None:
    """The transaction, on SQLite, has begun IMMEDIATE: whoever comes second waits there."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


with closing(Database(context.config.attributes["url"])) as database, database.engine.begin() as connection:
    run(connection)
