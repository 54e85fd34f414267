"""What a poll of a job costs: its statements.

python benchmarks/poll.py
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import Engine, event

import ledger
from app.core.settings import Settings
from app.main import create_app
from migrations import commands

CLASSES = 10


def poll() -> list[str]:
    """Statements that one poll of a job costs, authentication included, in the application that serves it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        commands.upgrade(settings.database)
        app = create_app(settings)
        with TestClient(app) as client:
            client.headers["Authorization"] = f"Bearer {settings.first_key.read_text().strip()}"
            file = client.post("/v1/files", params={"filename": "x"}, content=b"x").json()["id"]
            dataset = client.post("/v1/datasets", json={"name": "x", "file": file}).json()["id"]
            method = {"name": "train", "network": {"name": "cnn3", "num_classes": CLASSES}}
            job = client.post("/v1/jobs", json={"dataset": dataset, "method": method}).json()["id"]
            with counted() as statements:
                client.get(f"/v1/jobs/{job}").raise_for_status()
    return statements


@contextmanager
def counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def count(connection: object, cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def main() -> None:
    found = len(poll())
    row = ledger.row("statements of a job poll, authentication included", str(found), limit="≤ 2", holds=found <= 2)
    print(row)
    ledger.write("poll", "python benchmarks/poll.py", [row])


if __name__ == "__main__":
    main()
