"""One client against all others, over HTTP: the server stays small, and answers the others meanwhile."""

import resource
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psutil
import pytest

import databases
from api import server as servers
from api.server import MIB, Api
from api.world import World, made, png

ROOM = 1024 * MIB  # above what the server has when nobody asks for anything
LARGE = {"REGRAFT_MAX_PREDICT_BYTES": str(64 * MIB), "REGRAFT_MAX_FILE_BYTES": str(1024 * MIB)}
QUICK = {"REGRAFT_BODY_IDLE_S": "3", "REGRAFT_BODY_BYTES_S": "1024"}


class Attacked:
    """A server under `prlimit`, and somebody who uses it as one does."""

    def __init__(self, api: Api, world: World, attacker: World) -> None:
        self.api, self.world, self.attacker = api, world, attacker
        self.attackers_model = attacker.model()["id"]
        self.job = world.queued_job()["id"]
        self.model = world.model()["id"]
        self.ask()
        self.process = psutil.Process(api.process.pid)
        self.idle = self.process.memory_info().rss
        used = self.process.memory_info().data
        resource.prlimit(api.process.pid, resource.RLIMIT_DATA, (used + ROOM, used + ROOM))

    def ask(self) -> None:
        """A poll and a prediction."""
        made(self.world.client.get(f"/v1/jobs/{self.job}"), 200)
        path = f"/v1/models/{self.model}/predictions"
        answer = self.world.client.post(path, content=png("top"), headers={"Content-Type": "image/png"})
        assert made(answer, 200)["data"][0]["label"] == "top"

    @contextmanager
    def used_meanwhile(self) -> Iterator[None]:
        """Everything asked meanwhile is answered, most of it at once; memory stays within bounds."""
        over = threading.Event()

        def use() -> tuple[list[float], int]:
            took, peak = [], 0
            while not over.wait(0.05) or len(took) < 5:
                begun = time.perf_counter()
                self.ask()
                took.append((time.perf_counter() - begun) / 2)
                peak = max(peak, self.process.memory_info().rss)
            return took, peak

        with ThreadPoolExecutor(1) as pool:
            using = pool.submit(use)
            try:
                yield
            finally:
                over.set()
            took, peak = using.result(120)
        assert statistics.median(took) < 1
        assert peak - self.idle < ROOM

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.api.port), timeout=60)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with databases.opened("sqlite", tmp_path_factory.mktemp("sqlite")) as opened:
        home = tmp_path_factory.mktemp("home")
        with servers.serving(home, opened.migrated(), **LARGE, **QUICK) as api:
            owners = [World(api, name, tmp_path_factory.mktemp(name)) for name in ("bystander", "attacker")]
            yield Attacked(api, *owners)
            for owner in owners:
                owner.close()


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

    with attacked.used_meanwhile(), ThreadPoolExecutor(8) as pool:
        for taken, said in pool.map(attack, range(8)):
            assert taken < 64 * MIB
            assert not said or b" 431 " in said or b" 405 " in said, said[:200]


def test_half_heads_are_sent_away(attacked):
    """Of many that were opened, all are closed soon; and one that comes byte by byte, too."""
    with attacked.used_meanwhile():
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
    "many forms": (IMAGES, "multipart/form-data; boundary=b", FORM, 1, 300),
    "many raw": (IMAGES, "image/png", b"", 1, 300),
    "jobs": ("/v1/jobs", "application/json", b'{"name":"', 3 * MIB, 100),
    "files": ("/v1/files", "application/octet-stream", b"", 4 * MIB, 32),
}


@pytest.mark.parametrize("form", BODIES)
def test_slow_bodies(attacked, form):
    """They begin as fast as they can, and then crawl: two bytes a second.  Half of them announce their length."""
    path, kind, begin, size, count = BODIES[form]
    key = attacked.attacker.client.headers["Authorization"]
    head = f"POST {path.format(model=attacked.attackers_model)} HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\n"
    head += f"Content-Type: {kind}\r\n"
    lengths = "Transfer-Encoding: chunked", f"Content-Length: {len(begin) + size + 1000}"

    def framed(piece: bytes, announced: int) -> bytes:
        return piece if announced or not piece else b"%x\r\n%s\r\n" % (len(piece), piece)

    def begun(number: int) -> tuple[socket.socket, int]:
        connection, announced = attacked.connect(), number % 2
        with suppress(ConnectionError):
            connection.sendall(f"{head}{lengths[announced]}\r\n\r\n".encode() + framed(begin, announced))
        pour(connection, framed(b"A" * min(size, 65536), announced), size)
        return connection, announced

    with attacked.used_meanwhile(), ThreadPoolExecutor(16) as pool:
        slow = list(pool.map(begun, range(count)))
        attacked.world.file(b"mine")
        images = [("images", ("a.png", png("middle")))]
        answer = attacked.world.client.post(IMAGES.format(model=attacked.model), files=images)
        assert made(answer, 200)["data"][0]["label"] == "middle"
        began = time.monotonic()
        while slow and time.monotonic() - began < 60:
            time.sleep(0.5)
            for one in list(slow):
                try:
                    one[0].sendall(framed(b"A", one[1]))
                except ConnectionError:
                    slow.remove(one)
                    one[0].close()
        assert not slow
