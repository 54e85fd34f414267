"""One poller for all followers."""

import asyncio
import gc
from collections.abc import Collection

from app.core import errors
from app.core.status import Status
from app.jobs.feed import Feed
from app.jobs.repository import State

RUNNING = State(Status.RUNNING, 3)


class Jobs:
    """States to be read, and how often each set of jobs was asked for."""

    def __init__(self, states: dict[str, State]) -> None:
        self.states = states
        self.asked: list[list[str]] = []

    def __call__(self, job_ids: Collection[str]) -> dict[str, State]:
        self.asked.append(sorted(job_ids))
        return {job_id: self.states[job_id] for job_id in job_ids if job_id in self.states}


def run(scenario: object) -> None:
    asyncio.run(asyncio.wait_for(scenario, 5))


def test_one_read_serves_all_followers() -> None:
    jobs = Jobs({"job_a": RUNNING, "job_b": RUNNING})

    async def scenario() -> None:
        feed = Feed(jobs, interval_s=60)
        async with feed.follow("job_a") as one, feed.follow("job_a") as two, feed.follow("job_b") as three:
            assert [await queue.get() for queue in (one, two, three)] == [RUNNING] * 3

    run(scenario())
    assert jobs.asked == [["job_a", "job_b"]]


def test_nobody_follows_nothing_is_read() -> None:
    jobs = Jobs({"job_a": RUNNING})

    async def scenario() -> None:
        feed = Feed(jobs, interval_s=0.001)
        async with feed.follow("job_a") as states:
            await states.get()
        await asyncio.sleep(0.02)
        read = len(jobs.asked)
        await asyncio.sleep(0.02)
        assert len(jobs.asked) == read
        async with feed.follow("job_a") as states:  # and it begins again
            assert await states.get() == RUNNING

    run(scenario())


def test_a_slow_follower_finds_the_newest_state_alone() -> None:
    jobs = Jobs({"job_a": RUNNING})

    async def scenario() -> None:
        feed = Feed(jobs, interval_s=0.001)
        async with feed.follow("job_a") as states:
            await asyncio.sleep(0.02)
            jobs.states["job_a"] = State(Status.FAILED, 9)
            await asyncio.sleep(0.05)
            assert await states.get() == State(Status.FAILED, 9)

    run(scenario())


def test_a_deleted_job_is_told() -> None:
    async def scenario() -> None:
        async with Feed(Jobs({}), interval_s=60).follow("job_a") as states:
            assert await states.get() is None

    run(scenario())


def test_a_poller_that_fails_leaves_nobody_waiting() -> None:
    def fail(job_ids: Collection[str]) -> dict[str, State]:
        raise ConnectionError

    async def scenario() -> None:
        async with Feed(fail, interval_s=60).follow("job_a") as states:
            assert await states.get() is None

    run(scenario())
    gc.collect()  # asyncio complains of the exception that nobody fetched: here, not in the middle of another test


def test_a_database_that_is_away_is_waited_for() -> None:
    answers = iter([errors.Unavailable(), errors.Unavailable()])

    def states(job_ids: Collection[str]) -> dict[str, State]:
        if (trouble := next(answers, None)) is not None:
            raise trouble
        return {"job_a": RUNNING}

    async def scenario() -> None:
        async with Feed(states, interval_s=0.001).follow("job_a") as queue:
            assert await queue.get() == RUNNING

    run(scenario())


def test_closing_sends_all_followers_away() -> None:
    async def scenario() -> None:
        feed = Feed(Jobs({"job_a": RUNNING}), interval_s=0.001)
        async with feed.follow("job_a") as states:
            await states.get()
            feed.close()
            while await states.get() is not None:
                pass
        async with feed.follow("job_a") as states:  # who comes later too
            assert await states.get() is None

    run(scenario())
