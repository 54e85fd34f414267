"""Descriptions of what goes over the wire: requests, streamed bodies, and when a request is sent again."""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread

CHUNK = 1024 * 1024

Progress = Callable[[int, int], None]
"""Told `(bytes done, bytes in all)`; starts again from 0 when a request is sent again."""


@dataclass(frozen=True)
class Body:
    """`length` bytes of a file from `start` on, read piece by piece; every iteration reads them anew."""

    path: Path
    start: int
    length: int
    progress: Progress | None = None

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            done = 0
            while piece := file.read(min(CHUNK, self.length - done)):
                yield piece
                done += len(piece)
                self._tell(done)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with await anyio.open_file(self.path, "rb") as file:
            await file.seek(self.start)
            done = 0
            while piece := await file.read(min(CHUNK, self.length - done)):
                yield piece
                done += len(piece)
                self._tell(done)

    def _tell(self, done: int) -> None:
        if self.progress:
            self.progress(done, self.length)


@dataclass(frozen=True)
class Request:
    """`repeatable`: sending it twice has the effect of sending it once."""

    method: str
    path: str
    repeatable: bool
    params: Mapping[str, str | int | float | bool] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | Body | None = None
    files: Sequence[tuple[str, tuple[str, bytes, str]]] | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Retry:
    """Repeatable requests are sent up to `attempts` times; pauses grow, with jitter, or are as `Retry-After` asks."""

    attempts: int = 5
    first_s: float = 0.2
    ceiling_s: float = 10.0

    def pause(self, attempt: int, asked_s: float | None) -> float:
        """Seconds before attempt number `attempt` + 1 (from 1)."""
        if asked_s is not None:
            return min(asked_s, self.ceiling_s)
        return float(min(self.ceiling_s, self.first_s * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
