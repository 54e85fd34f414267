"""Fair shares of what owners have in common: each gets as much as is left for the others, or its turn."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.core import errors

MOST_WAITING = 256  # of one owner


class Shares:
    """`total` of something that owners have for a while: bytes, connections.

    An owner may have as much as would then be free: alone a half, of two a third each, and so on.  So nobody can take
    everything, however often it is asked for, and nothing has to be set aside (the dynamic thresholds of Choudhury and
    Hahne, 1998).
    """

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self._owned: Counter[str] = Counter()

    def take(self, owner: str, amount: int = 1) -> bool:
        """Take `amount` for the owner, and tell whether there was as much; what was taken has to be given back."""
        if self._owned[owner] + amount > self.total - self.used - amount:
            return False
        self.take_anyway(owner, amount)
        return True

    def take_anyway(self, owner: str, amount: int) -> None:
        self._owned[owner] += amount
        self.used += amount

    def give_back(self, owner: str, amount: int = 1) -> None:
        self.used -= amount
        self._owned[owner] -= amount
        if not self._owned[owner]:
            del self._owned[owner]


class Turns:
    """`most` at a time, `each` of one owner; the others wait, in the order in which they came.  Belongs to one event
    loop."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._running: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """
        Raises:
            Overloaded: so many of the owner's are waiting that there is no sense in another.
        """
        if self._free(owner):
            self._running[owner] += 1
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._end(owner)

    def _free(self, owner: str) -> bool:
        return self._running.total() < self._most and self._running[owner] < self._each

    async def _wait(self, owner: str) -> None:
        if sum(waiting == owner for waiting, _ in self._waiting) >= MOST_WAITING:
            raise errors.Overloaded("Too many requests of yours are waiting.", retry_after_s=5)
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():  # it was called, and will not come
                self._end(owner)
            else:
                self._waiting.remove((owner, called))
            raise

    def _end(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        for waiting in list(self._waiting):
            if self._free(waiting[0]):
                self._waiting.remove(waiting)
                self._running[waiting[0]] += 1
                waiting[1].set_result(None)
