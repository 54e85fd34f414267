"""One client against all others, over HTTP: the server stays small, and answers the others meanwhile."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.app.api.server import MIB, Api
from tests.app.api.world import World
from tests.system.faults import watched
from tests.system.faults.watched import Watched

pytestmark = pytest.mark.xdist_group("attacks_http")  # what its fixture starts is dear

LARGE = {
    "REGRAFT_MAX_BODY_BYTES": str(4 * MIB),
    "REGRAFT_MAX_PREDICT_BYTES": str(64 * MIB),
    "REGRAFT_MAX_FILE_BYTES": str(1024 * MIB),
}
QUICK = {"REGRAFT_BODY_IDLE_S": "2", "REGRAFT_BODY_BYTES_S": "1024"}


class Attacked:
    """A server under `prlimit`, others who use it as one does, and an attacker with a key and a model."""

    def __init__(self, api: Api, attacker: World, another: World, others: Watched) -> None:
        self.api, self.another, self.others = api, another, others
        self.key = attacker.client.headers["Authorization"]
        self.model = attacker.model()["id"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.api.port), timeout=60)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp
    with (
        watched.used(folder("attacked"), **LARGE, **QUICK) as (api, user),
        watched.used(folder("spared")) as (_, control),
    ):
        attacker, another = (World(api, name, folder(name)) for name in ("attacker", "another"))
        yield Attacked(api, attacker, another, Watched([api.process.pid], user, control))
        attacker.close()
        another.close()


def told(connection: socket.socket) -> bytes:
    """All that the server says until it hangs up."""
    said = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            said += piece
    connection.close()
    return said


def pour(connection: socket.socket, piece: bytes, size: int) -> int:
    """Send `piece` over and over, `size` bytes in all; how much was taken."""
    sent = 0
    with suppress(ConnectionError):
        while sent < size:
            connection.sendall(piece)
            sent += len(piece)
    return sent


# --- without a key


HEADS = {
    "lines": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"X-Some-Header: %s\r\n" % (b"v" * 1000) * 64),
    "one line": (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ", b"v" * 65536),
    "one name": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"v" * 65536),
    "path": (b"GET /", b"v" * 65536),
    "empty lines": (b"", b"\r\n" * 32768),
    "trailers": (
        b"POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
        b"X: %s\r\n" % (b"v" * 1000) * 64,
    ),
    "one trailer": (
        b"POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
        b"v" * 65536,
    ),
}


@pytest.mark.parametrize("form", HEADS)
def test_heads_without_end(attacked, form):
    begin, piece = HEADS[form]

    def attack(_: int) -> tuple[int, bytes]:
        connection = attacked.connect()
        connection.sendall(begin)
        return pour(connection, piece, 64 * MIB), told(connection)

    with attacked.others.attacked(), ThreadPoolExecutor(8) as pool:
        for taken, said in pool.map(attack, range(8)):
            assert taken < 64 * MIB
            assert not said or b" 431 " in said or b" 405 " in said, said[:200]


def test_half_heads_are_sent_away(attacked):
    """Of many that were opened, all are closed soon; and one that comes byte by byte, too."""
    with attacked.others.attacked():
        halves = [attacked.connect() for _ in range(600)]
        for half in halves:
            half.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ")
        slow, begun = halves.pop(), time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - begun < 60:
                slow.sendall(b"v")
                time.sleep(0.2)
        assert time.monotonic() - begun < 60
        assert all(not said or b" 408 " in said for said in map(told, [*halves, slow]))


# --- with one key


IMAGES = "/v1/models/{model}/predictions"
FORM = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
BODIES = {  # path, media type, how the body begins, how much of it comes at once, and how many such requests
    "raw": (IMAGES, "image/png", b"", 32 * MIB, 24),
    "forms": (IMAGES, "multipart/form-data; boundary=b", FORM, 32 * MIB, 24),
    "json": (IMAGES, "application/json", b'{"images":["', 32 * MIB, 24),
    "many forms": (IMAGES, "multipart/form-data; boundary=b", FORM, 1, 80),
    "many raw": (IMAGES, "image/png", b"", 1, 80),
    "jobs": ("/v1/jobs", "application/json", b'{"name":"', 3 * MIB, 100),
    "files": ("/v1/files", "application/octet-stream", b"", 4 * MIB, 32),
}


@dataclass
class Slow:
    """A request that begins as fast as it can, and then crawls (two bytes a second at the most) or says nothing more;
    it announces its length, or comes in chunks."""

    connection: socket.socket
    announced: bool
    crawls: bool
    said: bytes = b""

    def framed(self, piece: bytes) -> bytes:
        return piece if self.announced or not piece else b"%x\r\n%s\r\n" % (len(piece), piece)

    def begin(self, head: str, first: bytes, size: int) -> None:
        length = f"Content-Length: {len(first) + size + 1000}" if self.announced else "Transfer-Encoding: chunked"
        with suppress(ConnectionError):
            self.connection.sendall(f"{head}{length}\r\n\r\n".encode() + self.framed(first))
        pour(self.connection, self.framed(b"A" * min(size, 65536)), size)
        self.connection.setblocking(False)

    def lives(self) -> bool:
        """Go on; whether the server lets it."""
        try:
            if self.crawls:
                with suppress(BlockingIOError):
                    self.connection.sendall(self.framed(b"A"))
            while piece := self.connection.recv(65536):
                self.said += piece
        except BlockingIOError:
            return True
        except ConnectionError:
            pass
        self.connection.close()
        return False


@pytest.mark.parametrize("form", BODIES)
def test_slow_bodies(attacked, form):
    """Of one key: the server lets none of them last, and refuses nothing to others meanwhile."""
    path, kind, first, size, count = BODIES[form]
    head = f"POST {path.format(model=attacked.model)} HTTP/1.1\r\nHost: a\r\nAuthorization: {attacked.key}\r\n"
    head += f"Content-Type: {kind}\r\n"

    def begun(number: int) -> Slow:
        slow = Slow(attacked.connect(), announced=number % 2 == 1, crawls=number // 2 % 2 == 1)
        slow.begin(head, first, size)
        return slow

    with attacked.others.attacked(), ThreadPoolExecutor(16) as pool:
        slow = list(pool.map(begun, range(count)))
        attacked.another.file(b"mine")
        began, left = time.monotonic(), slow
        while left and time.monotonic() - began < 60:
            time.sleep(0.5)
            left = [one for one in left if one.lives()]
        for one in left:
            one.connection.close()
    assert not left
    statuses = Counter(one.said[9:12] for one in slow)
    assert set(statuses) <= {b"", b"408", b"429", b"503"}
    assert statuses[b"408"] > 0
