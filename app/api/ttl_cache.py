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
class _Found(Generic[T]):
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
        self._found: OrderedDict[Hashable, _Found[T]] = OrderedDict()

    async def get(self, name: Hashable, look: Callable[[Session], T]) -> T:
        """The result of `look`, which `name` stands for; whatever it raises is raised, and not remembered."""
        found = self._fresh(name) or self._look(name, look)
        try:
            # those that come meanwhile share the one look-up, which outlives whoever began it
            return await asyncio.shield(found.future)
        except BaseException:
            if self._found.get(name) is found:
                del self._found[name]
            raise

    def now(self, name: Hashable) -> T | None:
        """The result that `get` would give without a look-up; None if it needs one."""
        found = self._fresh(name)
        if found is None or not found.future.done() or found.future.cancelled() or found.future.exception():
            return None
        return found.future.result()

    def _fresh(self, name: Hashable) -> _Found[T] | None:
        found = self._found.get(name)
        if found is None or found.commits != self._database.commits or found.until < time.monotonic():
            return None
        return found

    def _look(self, name: Hashable, look: Callable[[Session], T]) -> _Found[T]:
        commits, until = self._database.commits, time.monotonic() + LIFETIME_S
        found = _Found(asyncio.ensure_future(run_in_threadpool(self._read, look)), commits, until)
        self._found[name] = found
        self._found.move_to_end(name)
        if len(self._found) > CAPACITY:
            self._found.popitem(last=False)
        return found

    def _read(self, look: Callable[[Session], T]) -> T:
        with self._database.reading() as db:
            return look(db)
