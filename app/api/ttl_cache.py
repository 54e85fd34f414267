"""A cache of what was looked up a moment ago: for routes whose own work is not much more than a look-up."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db.session import Database

T = TypeVar("T")
LIFETIME_S = 1.0
CAPACITY = 1024


@dataclass(frozen=True)
class _Entry(Generic[T]):
    future: asyncio.Future[T]
    commits: int
    until: float  # time.monotonic()


class TtlCache(Generic[T]):
    """Answers of the database, at most a second old, and forgotten as soon as this process has written anything.

    So what this process revokes or deletes is gone at once, what another does within a second.  Belongs to one event
    loop.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()

    async def get(self, name: Hashable, look: Callable[[Session], T]) -> T:
        """The result of `look`, which `name` stands for; whatever it raises is raised, and not remembered."""
        entry = self._fresh(name) or self._look(name, look)
        try:
            # those that come meanwhile share the one look-up, which outlives whoever began it
            return await asyncio.shield(entry.future)
        except BaseException:
            if self._entries.get(name) is entry:
                del self._entries[name]
            raise

    def now(self, name: Hashable) -> T | None:
        """The result that `get` would give without a look-up; None if it needs one."""
        entry = self._fresh(name)
        if entry is None or not entry.future.done() or entry.future.cancelled() or entry.future.exception():
            return None
        return entry.future.result()

    def _fresh(self, name: Hashable) -> _Entry[T] | None:
        entry = self._entries.get(name)
        if entry is None or entry.commits != self._database.commits or entry.until < time.monotonic():
            return None
        return entry

    def _look(self, name: Hashable, look: Callable[[Session], T]) -> _Entry[T]:
        commits, until = self._database.commits, time.monotonic() + LIFETIME_S
        entry = _Entry(asyncio.ensure_future(run_in_threadpool(self._read, look)), commits, until)
        self._entries[name] = entry
        self._entries.move_to_end(name)
        if len(self._entries) > CAPACITY:
            self._entries.popitem(last=False)
        return entry

    def _read(self, look: Callable[[Session], T]) -> T:
        with self._database.reading() as db:
            return look(db)
