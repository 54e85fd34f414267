"""Predictions that the framework works on: no more are let in than there is room for; the rest is refused unread."""

import asyncio

import pytest

from app.api import fast
from app.api.door import Refusals
from app.api.meters import Meters

PATH = "/v1/models/model_abcdef/predictions"


async def sent(gate, path=PATH, announced=0):
    """The status that is answered; nothing of the body may be asked for."""
    told = []

    async def send(message):
        told.append(message)

    async def receive():
        raise AssertionError("the body was read")

    headers = [(b"content-length", str(announced).encode())]
    await gate({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    return told[0]["status"]


@pytest.mark.parametrize(("requests", "announced"), [(fast.MOST_REQUESTS, 0), (2, fast.MOST_BYTES // 2)])
def test_what_is_too_much_is_refused_and_let_in_again_later(requests, announced):
    async def ask():
        open_ = asyncio.Event()

        async def app(scope, receive, send):
            if scope["path"] == PATH:
                await open_.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        gate = fast.Gate(app, Refusals(Meters()))
        under_way = [asyncio.ensure_future(sent(gate, announced=announced)) for _ in range(requests)]
        await asyncio.sleep(0)
        assert await sent(gate, announced=1) == 503
        assert await sent(gate, path="/v1/jobs") == 200
        open_.set()
        assert await asyncio.gather(*under_way) == [200] * requests
        return await sent(gate, announced=2 * fast.MOST_BYTES)  # one alone is always let in

    assert asyncio.run(ask()) == 200
