"""Attempts of steps that do what a test tells them: the real queue, database, blobs and loop, no process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.blobs.store import Blobs
from app.contract.results import Catalogue
from app.contract.specs import CatalogueRequest, Prepared
from app.core.settings import Settings
from app.db.session import Database
from worker.runtime.contract import Result, Spec
from worker.supervisor.attempt import Workplace
from worker.tasks.registry import KINDS, TaskKind

DONE = Result(Catalogue(entries=[]))


@dataclass
class Scripted:
    """What a step says, one after another: an event is told, an exception raised, a function called with the spec."""

    says: list
    specs: list = field(default_factory=list)
    idle: bool = True

    def start(self, spec: Spec) -> "Scripted":
        self.specs.append(spec)
        return self

    def next(self, timeout_s: float):
        said = self.says.pop(0)
        if callable(said) and not isinstance(said, type):
            said = said(self.specs[-1])
        if isinstance(said, Exception):
            raise said
        return said

    def order(self, command) -> None: ...

    def kill(self) -> None: ...

    def warm(self) -> None: ...

    def close(self) -> None: ...


def workplace(database: Database, home: Path, *says, **settings) -> Any:  # whose executor has a script
    chosen = Settings(home=home, poll_s=0.01, **settings)
    return Workplace(
        worker="worker_test",
        database=database,
        blobs=Blobs(chosen.blobs),
        executor=Scripted(list(says)),
        settings=chosen,
        stopping=threading.Event(),
    )


def prepared(**inputs: str) -> Prepared[CatalogueRequest]:
    """A step that is told nothing, and reads the blobs of these addresses by role."""
    return Prepared(CatalogueRequest(), inputs)


def steps_do(monkeypatch, *, prepare: Callable | None = None, publish: Callable | None = None) -> None:
    """In the place of what the steps of jobs do with the database."""
    kind = TaskKind(prepare or (lambda db, id_: prepared()), publish or (lambda db, id_, outcome, written: None), False)
    monkeypatch.setitem(KINDS, "run", kind)
