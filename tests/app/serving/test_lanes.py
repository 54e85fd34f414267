"""Decoding threads and memory, shared by owners: order is asserted, never time."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from app.serving.lanes import Lanes
from app.serving.share import Share


class Work:
    """Steps that say when they begin, and end when they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._gates: dict[str, threading.Event] = {}

    def __call__(self, name: str) -> Callable[[], str]:
        gate = self._gates[name] = threading.Event()

        def step() -> str:
            self.begun.append(name)
            assert gate.wait(60)
            return name

        return step

    def let_go(self, *names: str) -> None:
        for name in names or self._gates:
            self._gates[name].set()

    async def until_begun(self, *names: str) -> None:
        async with asyncio.timeout(60):
            while not set(names) <= set(self.begun):
                await asyncio.sleep(0.001)


def lanes(threads: int = 4, each: int = 2, memory_bytes: int = 100) -> Lanes:
    return Lanes(threads=threads, each=each, memory_bytes=memory_bytes, name="test")


def test_one_owner_leaves_threads_to_the_others() -> None:
    async def ask() -> None:
        work, shared = Work(), lanes()
        mine = [asyncio.ensure_future(shared.run("many", work(f"m{n}"))) for n in range(6)]
        await work.until_begun("m0", "m1")
        other = asyncio.ensure_future(shared.run("one", work("other")))
        await work.until_begun("other")  # while all of the first owner's still go on
        assert work.begun == ["m0", "m1", "other"]
        work.let_go()
        assert await asyncio.gather(other, *mine) == ["other", *(f"m{n}" for n in range(6))]
        shared.close()

    asyncio.run(ask())


def test_owners_take_turns() -> None:
    async def ask() -> None:
        work, shared = Work(), lanes(threads=1, each=1)
        first = asyncio.ensure_future(shared.run("a", work("a0")))
        await work.until_begun("a0")
        rest = [asyncio.ensure_future(shared.run(name[0], work(name))) for name in ("a1", "a2", "a3", "b1", "c1", "b2")]
        await asyncio.sleep(0)
        work.let_go()
        await asyncio.gather(first, *rest)
        assert work.begun == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]
        shared.close()

    asyncio.run(ask())


def test_large_ones_wait_for_room_and_hold_up_no_small_one() -> None:
    async def ask() -> None:
        work, shared = Work(), lanes(threads=8, each=2)
        large = [asyncio.ensure_future(shared.run(o, work(o), memory_bytes=60)) for o in ("x", "y", "z")]
        await work.until_begun("x")
        small = asyncio.ensure_future(shared.run("w", work("w")))
        smaller = asyncio.ensure_future(shared.run("v", work("v"), memory_bytes=30))  # y was first, and has no room yet
        await work.until_begun("w")
        assert work.begun == ["x", "w"]
        work.let_go()
        await asyncio.gather(small, smaller, *large)
        assert work.begun[2:] == ["y", "v", "z"] or work.begun[2:] == ["y", "z", "v"]
        shared.close()

    asyncio.run(ask())


def test_what_is_larger_than_all_room_runs_by_itself_and_errors_arrive() -> None:
    async def ask() -> None:
        shared = lanes()
        assert await shared.run("a", lambda: 1, memory_bytes=1000) == 1
        with pytest.raises(ZeroDivisionError):
            await shared.run("a", lambda: 1 // 0)
        shared.close()

    asyncio.run(ask())


def test_whoever_does_not_wait_any_more_is_not_worked_for() -> None:
    async def ask() -> None:
        work, shared = Work(), lanes(threads=1, each=1)
        first = asyncio.ensure_future(shared.run("a", work("first")))
        await work.until_begun("first")
        gone = asyncio.ensure_future(shared.run("a", work("gone")))
        last = asyncio.ensure_future(shared.run("a", work("last")))
        await asyncio.sleep(0)
        gone.cancel()
        work.let_go()
        await asyncio.gather(first, last)
        assert work.begun == ["first", "last"]
        shared.close()

    asyncio.run(ask())


def test_shares_are_granted_in_order_and_light_ones_at_once() -> None:
    share, order = Share(160), list[str]()
    first, waiting = threading.Event(), threading.Event()

    def heavy(name: str, count: int) -> None:
        with share.taking(count):
            order.append(name)

    def hold() -> None:
        with share.taking(100):
            first.set()
            assert waiting.wait(60)

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    assert first.wait(60)
    for name, count in (("large", 100), ("fits", 40)):
        threads.append(threading.Thread(target=heavy, args=(name, count)))
        threads[-1].start()
        while len(share._waiting) < len(threads) - 1:
            pass
    with share.taking(9):
        order.append("light")
    assert order == ["light"]
    waiting.set()
    for thread in threads:
        thread.join(60)
    assert order[1:] == ["large", "fits"]
