"""Adaptive dynamic batching: whatever is waiting goes together, and nothing ever waits for company."""

import asyncio
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core import errors

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Outcome = list[Answer | Exception] | Exception


@dataclass
class _Waiting(Generic[Item, Answer]):
    owner: str
    items: Sequence[Item]
    deadline: float  # time.monotonic()
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Answer | Exception]]


class Batcher(Generic[Item, Answer]):
    """One thread that feeds `process` with up to `max_batch` items of several requests at a time.

    `process` gets a list of items and returns an answer or an exception for each, in order; one that it raises stands
    for every item of that batch.  `capacity` bounds the items of an owner that wait; beyond it `submit` refuses at
    once.  Owners take turns, one request each.  It belongs to one event loop.
    """

    def __init__(
        self, process: Callable[[list[Item]], Sequence[Answer | Exception]], *, max_batch: int, capacity: int, name: str
    ) -> None:
        self._process = process
        self._max_batch = max_batch
        self._capacity = capacity
        self._waiting: OrderedDict[str, deque[_Waiting[Item, Answer]]] = OrderedDict()  # by owner, the next one first
        self._waiting_items: Counter[str] = Counter()
        self._promised: Counter[str] = Counter()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"batcher-{name}", daemon=True)
        self._thread.start()

    async def submit(
        self, items: Sequence[Item], timeout_s: float, *, owner: str = "", promised: bool = False
    ) -> list[Answer | Exception]:
        """An answer for each of `items`, or the exception that `process` gave for it, in order.

        `promised`: within `room`, they are sure to be taken.

        Raises:
            Overloaded: more items are waiting than `capacity`.
            Unavailable: `timeout_s` passed before the items' turn came, or the batcher was closed.
        """
        if not promised:
            self._require_room(len(items), owner)
        loop = asyncio.get_running_loop()
        request = _Waiting[Item, Answer](owner, items, time.monotonic() + timeout_s, loop, loop.create_future())
        with self._changed:
            if self._closed:
                raise errors.Unavailable(retry_after_s=1)
            first = not self._waiting
            self._waiting.setdefault(owner, deque()).append(request)
            self._waiting_items[owner] += len(items)
            if first:
                loop.call_soon(self._wake)  # once the requests that the loop has at hand are all here
        return await request.future

    @contextmanager
    def room(self, count: int, owner: str = "") -> Iterator[Callable[[int], None]]:
        """Within, as many items are sure to find room, so that work may be put into them before they are submitted.

        Gives a function that is told how many of them are about to be submitted.

        Raises:
            Overloaded: see `submit`.
        """
        self._require_room(count, owner)
        self._promised[owner] += count
        left = count

        def keep(submitted: int) -> None:
            nonlocal left
            left -= submitted
            self._promised[owner] -= submitted

        try:
            yield keep
        finally:
            self._promised[owner] -= left

    def _require_room(self, count: int, owner: str) -> None:
        # a request larger than the whole capacity is taken when nothing else waits, or it could never be
        taken = self._waiting_items[owner] + self._promised[owner]
        if taken and taken + count > self._capacity:
            raise errors.Overloaded(retry_after_s=1)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Answer what is waiting with Unavailable and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while requests := self._take():
            alive = [r for r in requests if not r.future.cancelled()]
            late = [r for r in alive if r.deadline < time.monotonic()]
            _settle([(r, errors.Unavailable("The prediction waited too long.", retry_after_s=1)) for r in late])
            self._answer([r for r in alive if r not in late])
        with self._changed:
            left = [request for requests in self._waiting.values() for request in requests]
            self._waiting.clear()
        _settle([(r, errors.Unavailable(retry_after_s=1)) for r in left])

    def _take(self) -> list[_Waiting[Item, Answer]]:
        """Whole requests, up to `max_batch` items (at least one request); empty when closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            taken: list[_Waiting[Item, Answer]] = []
            count = 0
            while self._waiting:
                owner, requests = next(iter(self._waiting.items()))
                if taken and count + len(requests[0].items) > self._max_batch:
                    break
                taken.append(requests.popleft())
                count += len(taken[-1].items)
                self._waiting_items[owner] -= len(taken[-1].items)
                if requests:
                    self._waiting.move_to_end(owner)
                else:
                    del self._waiting[owner]
            return taken

    def _answer(self, requests: list[_Waiting[Item, Answer]]) -> None:
        items = [item for request in requests for item in request.items]
        answers: list[Answer | Exception] = []
        for start in range(0, len(items), self._max_batch):
            chunk = items[start : start + self._max_batch]
            try:
                answers.extend(self._process(chunk))
            except Exception as error:  # noqa: BLE001  # the thread outlives any one batch; its items get the error
                answers.extend([error] * len(chunk))
        outcomes, start = [], 0
        for request in requests:
            outcomes.append((request, answers[start : start + len(request.items)]))
            start += len(request.items)
        _settle(outcomes)


def _settle(outcomes: Sequence[tuple[_Waiting[Item, Answer], Outcome[Answer]]]) -> None:
    """Hand the outcomes to their event loops: one wake-up a loop, not one a request."""
    for loop in {request.loop for request, _ in outcomes}:
        mine = [(request.future, outcome) for request, outcome in outcomes if request.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, mine)


def _resolve(
    outcomes: Sequence[tuple[asyncio.Future[list[Answer | Exception]], Outcome[Answer]]],
) -> None:
    for future, outcome in outcomes:
        if future.done():  # its client went away
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
