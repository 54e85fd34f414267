"""Migrations on both databases: forwards, backwards, at once, and in step with the tables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

import migrations
from app.db import schema
from app.db.session import Database
from app.db.tables import Base
from migrations import commands
from tests.app.queue.queue_steps import claim, finish

VERSIONS = Path(migrations.__file__).parent / "versions"
ONCE = "ON CONFLICT DO NOTHING"


def tables(url):
    engine = Database(url).engine
    with engine.connect() as connection:
        names = set(inspect(connection).get_table_names())
    engine.dispose()
    return names


def test_up_down_and_up_again(each_database):
    url = each_database.blank()
    commands.upgrade(url)
    assert tables(url) == set(Base.metadata.tables) | {"alembic_version"}
    commands.downgrade(url)
    assert tables(url) == {"alembic_version"}
    commands.upgrade(url)
    commands.check(url)


def test_the_tables_are_those_of_the_code(database_url):
    commands.check(database_url)


def test_migrating_what_is_migrated_changes_nothing(database_url):
    before = tables(database_url)
    commands.upgrade(database_url)
    assert tables(database_url) == before


def test_the_code_knows_the_newest_migration():
    """The number that API and worker compare a database with is that of the last file, and Alembic's only head."""
    assert max(path.stem.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py")) == schema.HEAD
    assert ScriptDirectory(str(VERSIONS.parent)).get_heads() == [schema.HEAD]


def test_several_at_once(each_database, tmp_path):
    """As when several machines are started at the same time."""
    environment = os.environ | {"REGRAFT_HOME": str(tmp_path), "REGRAFT_DATABASE_URL": each_database.blank()}
    command = [sys.executable, "-m", "migrations"]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert "jobs" in tables(environment["REGRAFT_DATABASE_URL"])


def test_a_migration_that_fails_changes_nothing(each_database, monkeypatch):
    url = each_database.blank()
    monkeypatch.setattr("alembic.operations.Operations.create_index", _fail_late(3))
    with pytest.raises(ZeroDivisionError):
        commands.upgrade(url)
    assert tables(url) <= {"alembic_version"}


def _fail_late(calls):
    left = iter(range(calls))

    def create_index(*args, **options):
        if next(left, None) is None:
            raise ZeroDivisionError

    return create_index


def test_what_the_code_makes_of_a_schema(each_database):
    url = each_database.blank()
    engine = Database(url).engine

    def fault():
        with engine.connect() as connection:
            return schema.fault(connection)

    assert "no schema yet" in fault()
    with pytest.raises(SystemExit, match="regraft migrate"):
        schema.require_current(engine)
    commands.upgrade(url)
    assert fault() is None
    schema.require_current(engine)
    engine.dispose()


def test_a_database_that_is_not_there():
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(SystemExit, match="cannot be reached"):
        schema.require_current(engine)


def test_what_waits_is_found_after_the_upgrade(each_database):
    """Steps that were queued under schema 0009 are claimed, those that wait for others once these have ended."""
    url = each_database.blank()
    commands.upgrade(url, "0009")
    columns = "(id, seq, kind, lane, owner, status, attempt, max_attempts, available_at, created_at, step)"
    database = Database(url)
    with database.unit_of_work() as db:
        for number, (id_, lane) in enumerate((("ds_1", "ingest"), ("job_1", "run"), ("job_2", "run"))):
            values = f"('{id_}', {number}, 'run', '{lane}', 'ann', 'queued', 0, 3, 0, 0, 0)"
            db.execute(text(f"INSERT INTO tasks {columns} VALUES {values}"))
            db.execute(text(f"INSERT INTO turns (lane, owner, last_started_at) VALUES ('{lane}', 'ann', 0) {ONCE}"))
        db.execute(text("INSERT INTO dependencies (dependent, needs) VALUES ('job_1', 'ds_1')"))
    commands.upgrade(url)
    assert [claim(database).id, claim(database)] == ["job_2", None]
    finish(database, claim(database, lane="ingest"))
    assert claim(database).id == "job_1"
    database.close()
