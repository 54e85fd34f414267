"""Engine, transactions and the database's own clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pysqlite3
from sqlalchemy import Double, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import GenericFunction

from app.core import errors, plain

BUSY_TIMEOUT_MS = 30_000
# A process that freezes within a transaction must not keep its locks, nor others wait for them for ever.  Set for each
# transaction: a pooler such as PgBouncer refuses such settings at the start of a connection, and gives the next
# transaction another one.
_POSTGRES_TIMEOUTS = "SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL lock_timeout = '10s'"


class now(GenericFunction[float]):
    """Seconds since 1970 by the database's clock: the only clock that leases and timestamps trust."""

    name = "regraft_now"
    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """One engine.  `unit_of_work` is the only place that commits; `commits` is another number after it did."""

    def __init__(self, url: str) -> None:
        self.commits = 0
        self.engine = _sqlite(url) if url.startswith("sqlite") else _postgresql(url)

    @contextmanager
    def unit_of_work(self, *, counted: bool = True) -> Iterator[Session]:
        """A write transaction: committed when the block ends, rolled back when it raises.

        `counted`: whether what was read before may be another thing now.

        Raises:
            Unavailable, StorageFull: the database could not do it; nothing was written.
        """
        with _translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session
        self.commits += counted

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A read-only snapshot: on SQLite it takes no write lock.

        Raises:
            Unavailable: the database could not answer.
        """
        engine = self.engine.execution_options(regraft_reading=True)
        with _translated(), Session(engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    """The database's own troubles as ours; a statement that is wrong stays what it is."""
    try:
        yield
    except PoolTimeout as error:
        raise errors.Unavailable("The database is busy.", retry_after_s=1) from error
    except DBAPIError as error:
        if "disk is full" in str(error.orig) or "No space left" in str(error.orig):
            raise errors.StorageFull("The database's disk is full.") from error
        if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
            raise errors.Unavailable("The database cannot answer just now.", retry_after_s=1) from error
        raise


def _postgresql(url: str) -> Engine:
    connect_args: dict[str, object] = {
        "connect_timeout": 5,
        "tcp_user_timeout": 10_000,
        # no prepared statements: behind a pooler, which nothing tells from the server, the next transaction runs on a
        # connection that does not know them
        "prepare_threshold": None,
    }
    # hidden, since parameters would be logged
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=20,
        hide_parameters=True,
        json_serializer=plain.dumps,
        connect_args=connect_args,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(_POSTGRES_TIMEOUTS).close()

    return engine


def _sqlite(url: str) -> Engine:
    # pysqlite3 bundles an SQLite without the WAL-reset corruption of 3.7.0-3.51.2
    engine = create_engine(
        url,
        module=pysqlite3,
        hide_parameters=True,
        json_serializer=plain.dumps,
        connect_args={"check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        reading = connection.get_execution_options().get("regraft_reading", False)
        # a deferred BEGIN that writes later can fail with SQLITE_BUSY at once, or let two claimers read one row
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
