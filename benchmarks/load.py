"""A load generator for HTTP/1.1 that costs little itself: prebuilt requests over kept connections, one process.

    python benchmarks/load.py REQUESTS.json

reads {"pid", "host", "port", "path", "headers", "bodies" (files), "clients", "seconds", "warm_s"} and, for an open
loop, "rate" (requests a second, sent whether or not earlier ones were answered, each on whichever of the `clients`
connections is free).  Prints JSON: answers of each status, the good ones a second, their latencies, and the
CPU-seconds that process `pid` and its children took meanwhile.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop


class Load:
    def __init__(self, spec: dict[str, Any]) -> None:
        self._host, self._port = spec["host"], spec["port"]
        head = f"POST {spec['path']} HTTP/1.1\r\nHost: {self._host}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in spec["headers"].items())
        bodies = [Path(name).read_bytes() for name in spec["bodies"]]
        self._requests = itertools.cycle(
            f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies
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
        if self._rate is None:
            await asyncio.gather(*(self._closed() for _ in range(self._clients)))
        else:
            await self._open()
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

    async def _closed(self) -> None:
        """Sends the next request when the last is answered."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        while time.perf_counter() < self._until:
            await self._ask(reader, writer)
        writer.close()

    async def _open(self) -> None:
        """Sends at the set rate; where all connections are busy, the request counts as unsent."""
        free = [await asyncio.open_connection(self._host, self._port) for _ in range(self._clients)]
        under_way: set[asyncio.Task[None]] = set()

        async def once(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
            await self._ask(*connection)
            free.append(connection)

        start, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < self._until:
            for _ in range(int((now - start) * self._rate) - sent):
                sent += 1
                if free:
                    task = asyncio.ensure_future(once(free.pop()))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                else:
                    self._unsent += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*under_way)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began = time.perf_counter()
        writer.write(next(self._requests))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        ended = time.perf_counter()
        if self._from <= ended <= self._until:
            status = int(head[9:12])
            self._answers[status] += 1
            self._latency_s.setdefault(status, []).append(ended - began)


def _cpu_s(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(t.user + t.system for t in times)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(Load(json.loads(Path(sys.argv[1]).read_text())).run())))
