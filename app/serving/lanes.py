"""Threads that owners share fairly: none waits for all that another has sent."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Task:
    owner: str
    function: Callable[[], Any]
    memory_bytes: int
    future: asyncio.Future[Any]


class Lanes:
    """Owners take turns, one task each; none has more than `each` of the `threads` at a time.

    Tasks that say how much memory they take are run while all that do so take no more than `memory_bytes` together: one
    that has to wait for room lets no other of its kind go first, and holds up nothing else.  It belongs to one event
    loop.
    """

    def __init__(self, *, threads: int, each: int, memory_bytes: int, name: str) -> None:
        self.memory_bytes = memory_bytes
        self._threads, self._each = threads, each
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: OrderedDict[str, deque[_Task]] = OrderedDict()  # the owner whose turn is next comes first
        self._running: Counter[str] = Counter()
        self._taken_bytes = 0

    async def run(self, owner: str, function: Callable[[], T], *, memory_bytes: int = 0) -> T:
        """Run `function` in a thread of the pool, once it is the owner's turn, and give its result."""
        task = _Task(owner, function, memory_bytes, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(owner, deque()).append(task)
        self._start_what_may()
        answer: T = await task.future
        return answer

    def close(self) -> None:
        """Waits for what is running."""
        self._pool.shutdown(cancel_futures=True)

    def _start_what_may(self) -> None:
        while (task := self._next()) is not None:
            self._running[task.owner] += 1
            self._taken_bytes += task.memory_bytes
            asyncio.get_running_loop().run_in_executor(self._pool, task.function).add_done_callback(self._ended(task))

    def _next(self) -> _Task | None:
        """The first that may start, taken out of the waiting; its owner comes last the next time."""
        if self._running.total() >= self._threads:
            return None
        room = True
        for owner, tasks in self._waiting.items():
            while tasks and tasks[0].future.done():  # nobody waits for it any more
                tasks.popleft()
            if not tasks or self._running[owner] >= self._each:
                continue
            large = tasks[0].memory_bytes > 0
            room = room and (not large or not self._taken_bytes or self._fits(tasks[0]))
            if large and not room:
                continue
            self._waiting.move_to_end(owner)
            return tasks.popleft()
        self._waiting = OrderedDict((owner, tasks) for owner, tasks in self._waiting.items() if tasks)
        return None

    def _fits(self, task: _Task) -> bool:
        return self._taken_bytes + task.memory_bytes <= self.memory_bytes

    def _ended(self, task: _Task) -> Callable[[asyncio.Future[Any]], None]:
        def ended(done: asyncio.Future[Any]) -> None:
            self._running[task.owner] -= 1
            if not self._running[task.owner]:
                del self._running[task.owner]
            self._taken_bytes -= task.memory_bytes
            if not task.future.done() and not done.cancelled():
                error = done.exception()
                if error is None:
                    task.future.set_result(done.result())
                else:
                    task.future.set_exception(error)
            self._start_what_may()

        return ended
