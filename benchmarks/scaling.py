"""Submit, poll and list with a thousand, a hundred thousand and a million jobs in the tables.

    python benchmarks/scaling.py [--counts 1000 100000 1000000] [--requests 200]

The API is a process of its own on SQLite; the tables are filled past it with jobs that have ended, of one owner and of
the same age each.  Then one client asks, and what is compared is its median latency.  What it submits is removed again:
as many jobs wait whatever the size.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pysqlite3

import ledger
from regraft.processes import environment, migrate
from startup import alone

CHUNK = 50_000
LINEAGE = json.dumps({"checkpoint_sha256": None, "dataset_sha256": None, "code_version": "0"})
WAITING = "kind = 'run' AND status = 'queued'"
METHOD = {"name": "train", "network": {"name": "cnn3", "num_classes": 10}}


def fill(database: Path, dataset: str, first: int, count: int) -> None:
    """Jobs numbered from `first` on that ended long ago."""
    connection = pysqlite3.connect(str(database), isolation_level=None)
    for start in range(first, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO jobs (id, owner, created_at, dataset, method, method_name, seed, lineage, metadata)"
            " VALUES (?, 'admin', ?, ?, ?, 'train', 0, ?, '{}')",
            ((f"job_{n:024d}", 1e9 + n, dataset, json.dumps(METHOD), LINEAGE) for n in numbers),
        )
        connection.executemany(
            "INSERT INTO tasks (id, seq, kind, lane, owner, status, attempt, max_attempts, available_at, created_at,"
            " step) VALUES (?, ?, 'run', 'run', 'admin', 'succeeded', 1, 3, ?, ?, 0)",
            ((f"job_{n:024d}", n + 10, 1e9 + n, 1e9 + n) for n in numbers),
        )
        connection.execute("COMMIT")
    connection.execute("PRAGMA optimize")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def unqueue(database: Path) -> None:
    """Remove what waits."""
    connection = pysqlite3.connect(str(database), isolation_level=None)
    for table, column in (("dependencies", "dependent"), ("jobs", "id")):
        connection.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM tasks WHERE {WAITING})")
    connection.execute(f"DELETE FROM tasks WHERE {WAITING}")
    connection.close()


def median_ms(ask: Callable[[], httpx.Response], requests: int) -> float:
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        ask().raise_for_status()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


def measured(client: httpx.Client, dataset: str, count: int, requests: int) -> dict[str, float]:
    body = {"dataset": dataset, "method": METHOD}
    middle = f"job_{count // 2:024d}"
    submit = median_ms(lambda: client.post("/v1/jobs", json=body), requests)
    return {
        "submit": submit,
        "poll": median_ms(lambda: client.get(f"/v1/jobs/{middle}"), requests),
        "list": median_ms(lambda: client.get("/v1/jobs"), requests),
        "list of one status": median_ms(lambda: client.get("/v1/jobs?status=succeeded"), requests),
        "list of a status that none has": median_ms(lambda: client.get("/v1/jobs?status=failed"), requests),
        "list of a dataset that none has": median_ms(lambda: client.get("/v1/jobs?dataset=ds_other"), requests),
        "list from the middle on": median_ms(lambda: client.get(f"/v1/jobs?after={middle}"), requests),
    }


def sizes(counts: list[int], requests: int) -> Iterator[dict[str, float]]:
    """Latencies at each of the counts; without a worker, so that what is submitted stays where it is."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        migrate(environment(home=home))
        with alone(home) as url:
            headers = {"Authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                file = client.post("/v1/files", params={"filename": "x"}, content=b"x").json()["id"]
                dataset = client.post("/v1/datasets", json={"name": "x", "file": file}).json()["id"]
                for before, count in pairwise([0, *counts]):
                    fill(home / "regraft.db", dataset, before, count)
                    measured(client, dataset, count, 20)
                    unqueue(home / "regraft.db")
                    yield measured(client, dataset, count, requests)
                    unqueue(home / "regraft.db")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    found = list(sizes(options.counts, options.requests))
    rows: list[Any] = []
    for what, least in found[0].items():
        rows.append(ledger.row(f"{what}, {options.counts[0]:,} jobs", f"{least:.2f} ms"))
        for count, one in zip(options.counts[1:], found[1:], strict=True):
            ratio = one[what] / least
            said = f"{what}, {count:,} jobs, over that"
            rows.append(ledger.row(said, f"{ratio:.2f}", f"{one[what]:.2f} ms", "≤ 1.5", ratio <= 1.5))
    for row in rows:
        print(row)
    note = f"Medians of {options.requests} requests of one client, one after another, to the API on SQLite."
    ledger.write("scaling", "python benchmarks/scaling.py", rows, [note])


if __name__ == "__main__":
    main()
