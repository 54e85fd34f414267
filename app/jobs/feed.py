"""Events as they come: one poller a process for all followers, however many they are."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress

from app.core import errors
from app.jobs.repository import State

States = Callable[[Collection[str]], Mapping[str, State]]


class Feed:
    """Tells followers of jobs when there is something new.

    `states` reads the state of the jobs that are followed, in a thread, once every `interval_s`, and only while
    somebody follows.  Belongs to one event loop.
    """

    def __init__(self, states: States, interval_s: float) -> None:
        self._states = states
        self._interval_s = interval_s
        self._followers: dict[str, set[asyncio.Queue[State | None]]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def follow(self, job_id: str) -> AsyncIterator["asyncio.Queue[State | None]"]:
        """The newest state of the job, whenever it was looked at; None when the job is gone, or the feed closed."""
        queue: asyncio.Queue[State | None] = asyncio.Queue(maxsize=1)
        self._followers.setdefault(job_id, set()).add(queue)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            yield queue
        finally:
            self._followers[job_id].discard(queue)
            if not self._followers[job_id]:
                del self._followers[job_id]

    def close(self) -> None:
        """Send all followers away."""
        self._closed = True
        self._tell(list(self._followers), {})

    async def _poll(self) -> None:
        try:
            while self._followers and not self._closed:
                followed = list(self._followers)
                with suppress(errors.Unavailable):  # followers wait for the database as they wait for news
                    self._tell(followed, await asyncio.to_thread(self._states, followed))
                await asyncio.sleep(self._interval_s)
        finally:
            self._tell(list(self._followers), {})  # whatever ended the poller, nobody must wait for ever

    def _tell(self, followed: Collection[str], states: Mapping[str, State]) -> None:
        for job_id in followed:
            for queue in self._followers.get(job_id, ()):
                _offer(queue, states.get(job_id))


def _offer(queue: "asyncio.Queue[State | None]", state: State | None) -> None:
    """Put `state` in the place of an older one that nobody has taken yet."""
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(state)
