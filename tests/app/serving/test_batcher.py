"""The batcher as its callers see it: order, company, refusals."""

import asyncio
import threading

import pytest

from app.core import errors
from app.serving.batcher import Batcher


class Recorder:
    """Doubles integers and keeps the sizes of the batches it was given; `gate` holds it up."""

    def __init__(self):
        self.batches = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items):
        self.entered.set()
        self.gate.wait(10)
        self.batches.append(len(items))
        return [ValueError(str(i)) if i < 0 else 2 * i for i in items]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def batcher(recorder):
    batcher = Batcher(recorder, max_batch=8, capacity=10, name="test")
    yield batcher
    recorder.gate.set()
    batcher.close()


async def _while_busy(batcher, recorder, requests):
    """Submit `requests` while the thread is held up with one item, then let it go."""
    recorder.gate.clear()
    recorder.entered.clear()
    first = asyncio.ensure_future(batcher.submit([0], 10))
    await asyncio.to_thread(recorder.entered.wait, 10)
    tasks = [asyncio.ensure_future(batcher.submit(items, timeout)) for items, timeout in requests]
    await asyncio.sleep(0.05)
    recorder.gate.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_lone_request_is_answered_at_once_and_in_order(batcher, recorder):
    assert asyncio.run(batcher.submit([3, 1, 2], 5)) == [6, 2, 4]
    assert recorder.batches == [3]


def test_what_waits_goes_together_up_to_max_batch(batcher, recorder):
    answers = asyncio.run(_while_busy(batcher, recorder, [([1, 2], 5), ([3], 5), ([4, 5, 6], 5), ([7, 8, 9], 5)]))
    assert answers == [[2, 4], [6], [8, 10, 12], [14, 16, 18]]
    assert recorder.batches == [1, 6, 3]  # the last three do not fit beside the six


def test_a_request_larger_than_a_batch_is_cut_and_joined(batcher, recorder):
    assert asyncio.run(batcher.submit(list(range(20)), 5)) == [2 * i for i in range(20)]
    assert recorder.batches == [8, 8, 4]


def test_beyond_capacity_is_refused_at_once_with_retry_after(batcher, recorder):
    answers = asyncio.run(_while_busy(batcher, recorder, [([1] * 9, 5), ([2, 3], 5), ([4], 5)]))
    assert answers[0] == [2] * 9
    assert isinstance(answers[1], errors.Overloaded)
    assert answers[1].retry_after_s == 1
    assert answers[2] == [8]


def test_room_that_was_given_is_kept(batcher, recorder):
    async def ask():
        recorder.gate.clear()
        first = asyncio.ensure_future(batcher.submit([0], 10))
        await asyncio.to_thread(recorder.entered.wait, 10)
        with batcher.room(6):
            with pytest.raises(errors.Overloaded), batcher.room(5):
                pass
            others = asyncio.ensure_future(batcher.submit([1] * 4, 10))
            await asyncio.sleep(0.01)
            with pytest.raises(errors.Overloaded):
                await batcher.submit([2], 10)
        mine = asyncio.ensure_future(batcher.submit([3] * 6, 10))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        return await asyncio.gather(first, others, mine)

    assert asyncio.run(ask()) == [[0], [2] * 4, [6] * 6]


def test_what_is_larger_than_all_room_is_taken_when_nothing_waits(batcher):
    with batcher.room(20):
        pass
    assert asyncio.run(batcher.submit(list(range(20)), 5)) == [2 * i for i in range(20)]


def test_a_late_request_is_refused_not_computed(batcher, recorder):
    answers = asyncio.run(_while_busy(batcher, recorder, [([1], 0.01), ([2], 5)]))
    assert isinstance(answers[0], errors.Unavailable)
    assert answers[1] == [4]
    assert recorder.batches == [1, 1]


def test_a_bad_item_spoils_its_own_request_alone(batcher, recorder):
    bad, good = asyncio.run(_while_busy(batcher, recorder, [([1, -2], 5), ([3], 5)]))
    assert bad[0] == 2
    assert isinstance(bad[1], ValueError)
    assert good == [6]


def test_a_failing_batch_fails_its_items_and_the_next_one_works():
    calls = []

    def process(items):
        calls.append(items)
        if len(calls) == 1:
            raise RuntimeError("the engine tripped")
        return items

    batcher = Batcher(process, max_batch=8, capacity=10, name="test")
    try:
        (failed,) = asyncio.run(batcher.submit([1], 5))
        assert isinstance(failed, RuntimeError)
        assert asyncio.run(batcher.submit([2], 5)) == [2]
    finally:
        batcher.close()


def test_closing_answers_what_waits(recorder):
    batcher = Batcher(recorder, max_batch=8, capacity=10, name="test")

    async def close_while_waiting():
        recorder.gate.clear()
        first = asyncio.ensure_future(batcher.submit([0], 10))
        await asyncio.to_thread(recorder.entered.wait, 10)
        waiting = asyncio.ensure_future(batcher.submit([1], 10))
        await asyncio.sleep(0.05)
        closing = asyncio.ensure_future(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        recorder.gate.set()
        await closing
        return await asyncio.gather(first, waiting, return_exceptions=True)

    first, waiting = asyncio.run(close_while_waiting())
    assert first == [0]
    assert isinstance(waiting, errors.Unavailable)
    with pytest.raises(errors.Unavailable):
        asyncio.run(batcher.submit([1], 1))


def test_owners_take_turns_and_none_fills_the_queue_of_another(recorder):
    batcher = Batcher(recorder, max_batch=2, capacity=4, name="test")

    async def ask():
        recorder.gate.clear()
        first = asyncio.ensure_future(batcher.submit([0], 10, owner="many"))
        await asyncio.to_thread(recorder.entered.wait, 10)
        many = [asyncio.ensure_future(batcher.submit([n, n], 10, owner="many")) for n in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(errors.Overloaded):
            await batcher.submit([3], 10, owner="many")
        other = asyncio.ensure_future(batcher.submit([9], 10, owner="other"))
        order = []
        for name, each in (("many1", many[0]), ("many2", many[1]), ("other", other)):
            each.add_done_callback(lambda _, name=name: order.append(name))
        await asyncio.sleep(0)
        recorder.gate.set()
        await asyncio.gather(first, other, *many)
        await asyncio.sleep(0)
        return order

    try:
        assert asyncio.run(ask()) == ["many1", "other", "many2"]
    finally:
        batcher.close()
