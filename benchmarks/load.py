"""A load generator for HTTP/1.1 that costs little itself: prebuilt requests over kept connections, one process.

    python benchmarks/load.py REQUESTS.json

reads {"pid", "host", "port", "path", "headers", "bodies" (files), "clients", "seconds", "warm_s"} and, for an open
loop, "rate" (requests a second, sent whether or not earlier ones were answered, each on whichever of the `clients`
connections is free).  Prints JSON: answers of each status, the good ones a second, their latencies, and the
CPU-seconds that process `pid` and its children took meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop

IDLE_S = 4.0  # after which a connection is replaced before it is used again: servers close theirs after 5 or more
HUNG_UP = 0  # in the place of a status


class Load:
    def __init__(self, spec: dict[str, Any]) -> None:
        self._host, self._port = spec["host"], spec["port"]
        head = f"POST {spec['path']} HTTP/1.1\r\nHost: {self._host}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in spec["headers"].items())
        bodies = [Path(name).read_bytes() for name in spec["bodies"]]
        self._requests = itertools.cycle(
            [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        )
        self._clients, self._rate = spec["clients"], spec.get("rate")
        self._server = psutil.Process(spec["pid"])
        self._from = time.perf_counter() + spec["warm_s"]
        self._until = self._from + spec["seconds"]
        self._seconds = spec["seconds"]
        self._answers: Counter[int] = Counter()
        self._latency_s: dict[int, list[float]] = {}
        self._unsent = 0

    async def run(self) -> dict[str, Any]:
        measured = asyncio.ensure_future(self._cpu_s())
        await (self._closed() if self._rate is None else self._open(self._rate))
        return {
            "cpu_s": await measured,
            "answers": {str(status): count for status, count in sorted(self._answers.items())},
            "good_per_s": self._answers[200] / self._seconds,
            "unsent": self._unsent,
            **{f"p{p}_ms": self._percentile(200, p) for p in (50, 99)},
            "refused_p99_ms": self._percentile(503, 99),
        }

    async def _cpu_s(self) -> float:
        """Of the server, over the seconds that are counted."""
        await asyncio.sleep(self._from - time.perf_counter())
        before = _cpu_s(self._server)
        await asyncio.sleep(self._until - time.perf_counter())
        return _cpu_s(self._server) - before

    def _percentile(self, status: int, p: int) -> float | None:
        latency_s = self._latency_s.get(status)
        return float(np.percentile(latency_s, p)) * 1e3 if latency_s else None

    async def _connection(self, then: Callable[[Connection], None]) -> Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: Connection(self._requests, self._note, then), self._host, self._port
        )
        return made

    async def _closed(self) -> None:
        """Each connection sends the next request when its last is answered."""

        def go_on(connection: Connection) -> None:
            if time.perf_counter() < self._until:
                connection.ask()

        connections = [await self._connection(go_on) for _ in range(self._clients)]
        for connection in connections:
            connection.ask()
        await self._end(connections)

    async def _open(self, rate: float) -> None:
        """Sends at the set rate; where all connections are busy, the request counts as unsent."""
        free: list[Connection] = []
        connections = [await self._connection(free.append) for _ in range(self._clients)]
        free.extend(connections)

        async def ask_anew() -> None:
            connection = await self._connection(free.append)
            connections.append(connection)
            connection.ask()

        opening: set[asyncio.Task[None]] = set()
        start, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < self._until:
            due = int((now - start) * rate) - sent
            sent += due
            while due and free:
                connection = free.pop()
                due -= 1
                if now - connection.asked_at < IDLE_S:
                    connection.ask()
                else:  # the server may be closing it at this very moment
                    connection.close()
                    opening.add(asyncio.ensure_future(ask_anew()))
            self._unsent += due
            await asyncio.sleep(0.002)
        await asyncio.gather(*opening)
        await self._end(connections)

    async def _end(self, connections: list[Connection]) -> None:
        """Every request gets its answer."""
        while time.perf_counter() < self._until or any(connection.busy for connection in connections):
            await asyncio.sleep(0.05)
        for connection in connections:
            connection.close()

    def _note(self, status: int, began: float) -> None:
        ended = time.perf_counter()
        if self._from <= ended <= self._until:
            self._answers[status] += 1
            self._latency_s.setdefault(status, []).append(ended - began)


class Connection(asyncio.Protocol):
    """One request at a time; `then` is called when it has been answered and noted."""

    def __init__(
        self, requests: Iterator[bytes], note: Callable[[int, float], None], then: Callable[[Connection], None]
    ) -> None:
        self._requests, self._note, self._then = requests, note, then
        self._received = b""
        self.busy, self.asked_at = False, time.perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def ask(self) -> None:
        self.busy, self.asked_at = True, time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + length:
            return
        self._received, self.busy = b"", False
        self._note(int(head[9:12]), self.asked_at)
        self._then(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._note(HUNG_UP, self.asked_at)

    def close(self) -> None:
        self._transport.close()


def _cpu_s(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(t.user + t.system for t in times)


if __name__ == "__main__":
    gc.disable()  # it holds no cycles, and pauses would be the server's
    print(json.dumps(uvloop.run(Load(json.loads(Path(sys.argv[1]).read_text())).run())))
