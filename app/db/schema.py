"""A check that a database has the schema that this code was written for.  Needs neither Alembic nor the migrations."""

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

HEAD = "0022"  # the newest of `migrations/versions`; a test holds it to that


def fault(connection: Connection) -> str | None:
    """The fault of the database's schema, in a sentence; None where nothing is wrong with it."""
    applied = revision(connection)
    if applied == HEAD:
        return None
    if applied is None:
        return "The database has no schema yet: run `regraft migrate`."
    if applied < HEAD:
        return f"The database has schema {applied}, this code needs {HEAD}: run `regraft migrate`."
    return f"The database has schema {applied}, this code knows {HEAD} at most: install the newer version of Regraft."


def require_current(engine: Engine) -> None:
    """
    Raises:
        SystemExit: the schema is older or newer than this code, or cannot be read; the message says what to do.
    """
    try:
        with engine.execution_options(regraft_reading=True).connect() as connection:
            sentence = fault(connection)
    except OperationalError as error:
        raise SystemExit(f"The database cannot be reached: {error.orig}") from None
    if sentence:
        raise SystemExit(sentence)


def revision(connection: Connection) -> str | None:
    """The last migration that was applied, such as `0001`."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    applied: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return applied
