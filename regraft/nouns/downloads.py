"""A download that is whole or not there."""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from regraft import errors
from regraft.nouns.events import StreamSender
from regraft.steps import Read, Sleep, Steps
from regraft.wire import Progress, Request, Retry

_DIGEST_TAG = re.compile(r'"([0-9a-f]{64})"')


def downloading(
    send: StreamSender,
    path: str,
    params: Mapping[str, str],
    target: Path,
    progress: Progress | None,
    retry: Retry,
) -> Steps[Path]:
    """Written beside `target` under a name of its own, checked, then renamed."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield from _filled(_Partial(file), send, path, params, progress, retry)
        Path(name).replace(target)
    except BaseException:  # interrupts too: whatever stopped us, no half file stays
        Path(name).unlink(missing_ok=True)
        raise
    return target


@dataclass
class _Partial:
    """The part of one representation, named by its ETag, that has arrived."""

    file: IO[bytes]
    tag: str | None = None
    done: int = 0
    total: int | None = None
    sha256: Any = field(default_factory=hashlib.sha256)

    def continues(self, response: httpx.Response) -> None:
        """Starts over unless the response is the rest of what is here."""
        if response.status_code == 206 and response.headers.get("ETag") == self.tag:
            return
        self.file.seek(0)
        self.file.truncate()
        self.done, self.sha256 = 0, hashlib.sha256()
        self.tag = response.headers.get("ETag")
        length = response.headers.get("Content-Length")
        self.total = int(length) if length else None

    def add(self, piece: bytes) -> None:
        self.file.write(piece)
        self.sha256.update(piece)
        self.done += len(piece)

    def check(self) -> None:
        if self.total is not None and self.done != self.total:
            raise errors.Corrupted(f"{self.done} bytes arrived of {self.total}")
        announced = _DIGEST_TAG.fullmatch(self.tag or "")
        if announced and announced[1] != self.sha256.hexdigest():
            raise errors.Corrupted(f"sha256 is {self.sha256.hexdigest()}, announced was {announced[1]}")

    def headers(self) -> dict[str, str]:
        """Headers that ask for the file as it is stored; for the rest alone, once something is here and cannot have
        changed meanwhile."""
        plain = {"Accept-Encoding": "identity"}
        if not self.done or not self.tag or self.tag.startswith("W/"):
            return plain
        return plain | {"Range": f"bytes={self.done}-", "If-Range": self.tag}


def _filled(
    partial: _Partial,
    send: StreamSender,
    path: str,
    params: Mapping[str, str],
    progress: Progress | None,
    retry: Retry,
) -> Steps[None]:
    failures = 0
    while True:
        request = Request("GET", path, repeatable=True, params=params, headers=partial.headers())
        response = yield from send(request, streamed=True)
        partial.continues(response)
        try:
            while piece := (yield Read()):
                partial.add(piece)
                failures = 0
                if progress:
                    progress(partial.done, partial.total or partial.done)
        except httpx.TransportError as error:
            failures += 1
            if failures >= retry.attempts:
                raise errors.Unreachable(f"{path}: {error}") from error
            yield Sleep(retry.pause(failures, None))
            continue
        return partial.check()
