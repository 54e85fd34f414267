"""The door before a real server: what is refused there, what is not, and that a connection goes on either way."""

import asyncio
import contextlib
from functools import partial

import pytest
import uvicorn

from app.api.connections import Connections, Limits
from app.api.load_shedding import LoadShedding, Refusals
from app.api.meters import Meters
from app.api.predictions.fast_path import OVERLOADED

PATH = "/v1/models/model_abcdef/predictions"
COUNTED = {"method": "POST", "route": "/v1/models/{id}/predictions", "status": "503"}


class House:
    """An application that answers with the length of what it was sent; predictions wait until `open`."""

    def __init__(self):
        self.refusals = Refusals(meters := Meters())
        self.meters, self.open, self.bodies = meters, asyncio.Event(), []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        self.headers = scope["headers"]
        if scope["path"] == PATH:
            await self.open.wait()
        said = str(len(body)).encode()
        headers = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    @property
    def refused(self):
        return self.meters.registry.get_sample_value("regraft_requests_total", COUNTED) or 0


class Client:
    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    def send(self, data):
        self._writer.write(data)

    async def answer(self):
        """Status and body."""
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return int(head[9:12]), await self._reader.readexactly(length)

    async def heard(self):
        """What has come in a while."""
        await asyncio.sleep(0.1)
        return bytes(self._reader._buffer)

    async def ended(self):
        """Whether the server has hung up, or does so in a while."""
        try:
            return not await asyncio.wait_for(self._reader.read(1), 0.5)
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def close(self):
        self._writer.close()


def post(path=PATH, body=b"", length=None, more=b""):
    length = len(body) if length is None else length
    return b"POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (path.encode(), more, length, body)


def within(test, house=None, limits=Limits()):
    """Run it with a house and a way to connect to it."""

    async def run(house=house):
        house = house or House()
        _, headers, body = OVERLOADED
        told = [*headers, (b"content-length", str(len(body)).encode())]
        door = partial(LoadShedding, connections=Connections(limits), refusals=house.refusals, headers=told, body=body)
        server = uvicorn.Server(uvicorn.Config(house, port=0, http=door, lifespan="off", log_config=None))
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        clients = []

        async def connect():
            clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
            return clients[-1]

        try:
            await asyncio.wait_for(test(house, connect), 30)
        finally:
            house.open.set()
            for client in clients:
                client.close()
            server.should_exit = True
            await serving

    asyncio.run(run())


@contextlib.asynccontextmanager
async def full(house, connect, most=1):
    """So many wait, and no more are to be let in."""
    house.refusals.note(PATH, most)
    inside = [await connect() for _ in range(most)]
    for client in inside:
        client.send(post(body=b"abc"))
    while len(house.bodies) < most:
        await asyncio.sleep(0.01)
    yield inside


def test_nothing_is_refused_before_the_queue_was_full():
    async def test(house, connect):
        house.open.set()
        client = await connect()
        for _ in range(3):
            client.send(post(body=b"abc"))
            assert await client.answer() == (200, b"3")

    within(test)


def test_a_refusal_comes_before_the_body_and_the_connection_goes_on():
    async def test(house, connect):
        async with full(house, connect, most=2):
            client = await connect()
            client.send(post(f"{PATH}?top_k=3", b"x" * 1000, length=1_000_000))
            status, told = await client.answer()
            assert status == 503
            assert b'"code":"overloaded"' in told
            client.send(b"y" * 999_000)
            client.send(post("/v1/other", b"12345"))
            assert await client.answer() == (200, b"5")
            client.send(post(body=b"z") + post(body=b"zz") + post("/v1/other", b"123"))
            assert [(await client.answer())[0] for _ in range(3)] == [503, 503, 200]
        assert house.refused == 3
        assert sorted(map(len, house.bodies)) == [3, 3, 3, 5]

    within(test)


def test_when_one_leaves_another_is_let_in_and_after_the_last_all_are():
    async def test(house, connect):
        async with full(house, connect) as [inside]:
            client = await connect()
            client.send(post())
            assert (await client.answer())[0] == 503
            house.open.set()
            assert await inside.answer() == (200, b"3")
            client.send(post())
            assert await client.answer() == (200, b"0")
        assert not house.refusals

    within(test)


def test_who_hangs_up_leaves():
    async def test(house, connect):
        async with full(house, connect) as [inside]:
            inside.close()
            while house.refusals:
                await asyncio.sleep(0.01)

    within(test)


@pytest.mark.parametrize(
    "request_",
    [
        post(body=b"a", more=b"Connection: close\r\n"),
        post(body=b"a", more=b"Expect: 100-continue\r\n"),
        post(body=b"a", more=b"X: 1\r\ncontent-length: 1\r\n"),
        post(body=b"a").replace(b"HTTP/1.1", b"HTTP/1.0"),
        post(body=b"a").replace(b"Host: a\r\n", b"Host: a\n"),
        b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" % PATH.encode(),
    ],
    ids=["close", "expect", "two lengths", "1.0", "bare line feed", "chunked"],
)
def test_what_is_unusual_is_left_to_the_server(request_):
    async def test(house, connect):
        async with full(house, connect):
            client = await connect()
            client.send(request_)
            assert (await client.heard())[9:12] in (b"", b"100", b"400")
            assert house.refused == 0

    within(test)


def test_a_head_in_pieces_is_left_to_the_server():
    async def test(house, connect):
        async with full(house, connect):
            client = await connect()
            whole = post(body=b"abcd")
            client.send(whole[:70])
            await asyncio.sleep(0.1)
            client.send(whole[70:])
            assert not await client.heard()
            assert house.bodies[-1] == b"abcd"

    within(test)


def test_a_body_is_never_taken_for_a_request():
    async def test(house, connect):
        async with full(house, connect):
            client, inner = await connect(), post(body=b"evil")
            client.send(post("/v1/files", length=2 * len(inner)))
            for _ in range(2):
                await asyncio.sleep(0.1)
                client.send(inner)
            assert await client.answer() == (200, str(2 * len(inner)).encode())
            assert house.bodies[-1] == 2 * inner
            client.send(post(length=len(inner)))  # neither is what is left of one that was refused
            assert (await client.answer())[0] == 503
            client.send(inner + post("/v1/other", b"12"))
            assert await client.answer() == (200, b"2")
            assert house.refused == 1

    within(test)


def test_a_request_behind_one_that_is_under_way_waits_its_turn():
    async def test(house, connect):
        async with full(house, connect, most=2) as [first, _]:
            first.send(post(body=b"abcd"))
            assert not await first.heard()
            house.open.set()
            assert [await first.answer(), await first.answer()] == [(200, b"3"), (200, b"4")]

    within(test)


# --- limits


class Bare(House):
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


def get(headers=0, line=0):
    return b"GET /%s HTTP/1.1\r\n%s\r\n" % (b"x" * line, b"".join(b"X%d: 1\r\n" % n for n in range(headers)))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(headers=100), 200),
        (get(headers=101), 431),
        (get(line=60 * 1024), 200),
        (get(line=65 * 1024), 431),
        (b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"v" * 60 * 1024), 200),
        (b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"v" * 65 * 1024), 431),
    ],
    ids=["100 headers", "101 headers", "60 KiB of path", "65 KiB of path", "60 KiB of header", "65 KiB of header"],
)
def test_how_large_a_head_may_be(request_, status):
    async def test(house, connect):
        client = await connect()
        client.send(request_)
        assert (await client.answer())[0] == status
        if status == 200:
            client.send(request_)  # and the next one on the same connection
            assert (await client.answer())[0] == status

    within(test, Bare())


def test_trailers_are_no_headers():
    async def test(house, connect):
        client = await connect()
        client.send(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAuthorization: b\r\n\r\n")
        assert await client.answer() == (200, b"1")
        assert house.headers == [(b"transfer-encoding", b"chunked")]

    within(test)


def test_no_more_requests_ahead_than_a_few():
    async def test(house, connect):
        house.open.set()
        client = await connect()
        client.send(post("/v1/other") * 10_000)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await client.answer()
        assert len(house.bodies) < 5_000

    within(test)


def test_where_there_is_no_room_the_longest_idle_gives_way():
    async def test(house, connect):
        house.open.set()
        first, *others = [await connect() for _ in range(4)]
        first.send(post("/v1/other"))
        assert (await first.answer())[0] == 200
        last = await connect()
        last.send(post("/v1/other"))
        assert (await last.answer())[0] == 200
        ended = [client for client in (first, *others) if await client.ended()]
        assert len(ended) == 1

    within(test, limits=Limits(connections=4))


def test_who_is_being_answered_does_not_give_way():
    async def test(house, connect):
        busy = [await connect() for _ in range(4)]
        for client in busy:
            client.send(post(body=b"abc"))
        while len(house.bodies) < 4:
            await asyncio.sleep(0.01)
        assert (await (await connect()).answer())[0] == 503
        house.open.set()
        assert [await client.answer() for client in busy] == [(200, b"3")] * 4

    within(test, limits=Limits(connections=4))
