"""A service that answers from a script, for what is the client's own behaviour: retries, paging, errors."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from regraft import AsyncClient, Client, Retry

Answer = httpx.Response | Exception
FAST = Retry(attempts=4, first_s=0.001, ceiling_s=0.002)


@dataclass
class Script:
    """Gives its answers in turn and keeps the requests, bodies read."""

    answers: list[Answer]
    requests: list[httpx.Request] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def blocking(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self.answer(request)

    async def awaiting(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.answer(request)


class BlockingTalk:
    """`ask` runs one call against the script; `collect` exhausts one iterator."""

    def __init__(self, script: Script) -> None:
        self.client = Client("http://service", key="k", retry=FAST, transport=httpx.MockTransport(script.blocking))

    def ask(self, call: Callable[[Any], Any]) -> Any:
        return call(self.client)

    def collect(self, iterate: Callable[[Any], Any]) -> list[Any]:
        return list(iterate(self.client))


class AwaitingTalk:
    """The same through `AsyncClient`."""

    def __init__(self, script: Script) -> None:
        self.client = AsyncClient("http://service", key="k", retry=FAST, transport=httpx.MockTransport(script.awaiting))

    def ask(self, call: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            return await call(self.client)

        return anyio.run(run)

    def collect(self, iterate: Callable[[Any], Any]) -> list[Any]:
        async def run() -> list[Any]:
            return [item async for item in iterate(self.client)]

        return anyio.run(run)


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body whose connection breaks after its pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = list(pieces)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        raise httpx.ReadError("connection lost")

    async def __aiter__(self) -> Any:
        for piece in self.pieces:
            yield piece
        raise httpx.ReadError("connection lost")


def job(status: str = "queued", **more: Any) -> dict[str, Any]:
    """A job as the service shows it."""
    return {
        "id": "job_1",
        "object": "job",
        "created_at": "2026-11-24T12:00:00Z",
        "started_at": None,
        "finished_at": None,
        "name": None,
        "status": status,
        "attempt": 0,
        "queue_position": None,
        "progress": {"step": 0, "total_steps": None, "fraction": 0.0, "eta_s": None},
        "checkpoint": "ckpt_1",
        "dataset": "ds_1",
        "source_dataset": None,
        "method": {"name": "fine_tune"},
        "seed": 0,
        "error": None,
        "model": None,
        "evaluation": None,
        "lineage": {},
        "metadata": {},
    } | more


def ok(document: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=document)


def problem(status: int, code: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"type": "about:blank", "title": "Refused.", "status": status, "detail": "Not so.", "code": code} | more
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"} | (headers or {}))
