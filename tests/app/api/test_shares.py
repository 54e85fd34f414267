"""Nobody gets everything, everybody gets something, and what was given back can be had again."""

import asyncio

import pytest

from app.api import shares
from app.api.bodies import Room
from app.api.shares import Shares, Turns
from app.core import errors


def test_one_owner_gets_a_half_and_leaves_the_next_a_share():
    pool = Shares(100)
    assert sum(pool.take("ann") for _ in range(100)) == 50
    assert sum(pool.take("bob") for _ in range(100)) == 25
    assert pool.take("cid")
    pool.give_back("ann", 50)
    assert sum(pool.take("bob") for _ in range(100)) > 20
    pool.give_back("bob", pool.used - 1)
    pool.give_back("cid", 1)
    assert pool.used == 0


def test_a_body_is_counted_as_it_arrives_and_given_back():
    room = Room(100, 100)
    with room.held("ann") as one, room.held("ann") as other, room.held("bob") as bobs:
        one.add(90)  # alone it may be as large as it likes
        with pytest.raises(errors.Overloaded):
            other.add(1)
        one.release()
        other.add(40)
        bobs.add(25)
        with pytest.raises(errors.Overloaded):
            bobs.add(25)
    with room.held("ann") as one, room.held("bob") as bobs:
        bobs.add(1)
        one.add(49)


def test_bodies_that_arrive_are_counted_too():
    room = Room(100, 4)
    with room.arriving("ann"), room.arriving("ann"):
        with pytest.raises(errors.Overloaded), room.arriving("ann"):
            pass
        with room.arriving("bob"):
            pass


def test_turns_are_taken_and_others_are_not_held_up():
    async def run():
        turns, ended, running = Turns(3, each=2), asyncio.Event(), []

        async def work(owner):
            async with turns.turn(owner):
                running.append(owner)
                await ended.wait()

        anns = [asyncio.ensure_future(work("ann")) for _ in range(5)]
        await asyncio.sleep(0)
        bobs = [asyncio.ensure_future(work("bob")) for _ in range(2)]
        await asyncio.sleep(0)
        assert running == ["ann", "ann", "bob"]
        anns[2].cancel()
        await asyncio.sleep(0)
        ended.set()
        await asyncio.gather(*anns[:2], *anns[3:], *bobs)
        assert sorted(running) == ["ann"] * 4 + ["bob"] * 2
        async with turns.turn("ann"):
            pass

    asyncio.run(run())


def test_waiting_has_an_end(monkeypatch):
    monkeypatch.setattr(shares, "MOST_WAITING", 2)

    async def run():
        turns, over = Turns(1, each=1), asyncio.Event()

        async def work():
            async with turns.turn("ann"):
                await over.wait()

        tasks = [asyncio.ensure_future(work()) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(errors.Overloaded):
            await work()
        over.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
