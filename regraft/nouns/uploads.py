"""Uploads: a large file in ordered parts.  `files.upload` uses them by itself; this noun is for finer control."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from regraft.folders import Folder
from regraft.nouns.base import D, Noun, given, once
from regraft.steps import Do, Steps, call
from regraft.types import File, Upload
from regraft.wire import CHUNK, Body, Progress, Request

PART_TIMEOUT_S = 300.0
Sender = Callable[[Request], Steps[httpx.Response]]


class Uploads(Noun[D]):
    @call
    def create(self, *, filename: str, bytes: int | None = None, sha256: str | None = None) -> Steps[Upload]:
        """`bytes` and `sha256`, where given, are checked when the upload is completed."""
        body = given({"filename": filename, "bytes": bytes, "sha256": sha256})
        return (yield from self._post("/v1/uploads", Upload, body))

    @call
    def part(self, upload: str, number: int, content: bytes) -> Steps[None]:
        """Parts are numbered from 1 and sent in order; the same part may be sent again."""
        yield from self._send(part_request(upload, number, content, len(content)))

    @call
    def complete(self, upload: str) -> Steps[File]:
        return (yield from self._post(f"/v1/uploads/{upload}/complete", File, {}))

    @call
    def delete(self, upload: str) -> Steps[None]:
        yield from self._delete(f"/v1/uploads/{upload}")


def in_parts(send: Sender, path: Path, filename: str, part_bytes: int, progress: Progress | None) -> Steps[File]:
    """The whole of it: announce size and digest, send the parts in order, complete."""
    size = path.stat().st_size
    announced = {"filename": filename, "bytes": size, "sha256": (yield Do(partial(digest, path)))}
    begun = yield from send(Request("POST", "/v1/uploads", repeatable=True, json=announced, headers=once()))
    upload = Upload.model_validate_json(begun.content)
    for number, start in enumerate(range(0, size, part_bytes), start=1):
        part = Body(path, start, min(part_bytes, size - start), _shifted(progress, start, size))
        yield from send(part_request(upload.id, number, part, part.length))
    return (yield from _completed(send, upload))


def packed_in_parts(
    send: Sender, folder: Folder, filename: str, part_bytes: int, progress: Progress | None
) -> Steps[File]:
    """Send the folder as a zip of a length that is not known before its end."""
    announced = {"filename": filename}
    begun = yield from send(Request("POST", "/v1/uploads", repeatable=True, json=announced, headers=once()))
    upload = Upload.model_validate_json(begun.content)
    pieces, done = folder.packed(part_bytes), 0
    number = 1
    while piece := (yield Do(partial(next, pieces, b""))):
        yield from send(part_request(upload.id, number, piece, len(piece)))
        number, done = number + 1, done + len(piece)
        if progress:
            progress(min(done, folder.size), folder.size)
    return (yield from _completed(send, upload))


def _completed(send: Sender, upload: Upload) -> Steps[File]:
    path = f"/v1/uploads/{upload.id}/complete"
    done = yield from send(Request("POST", path, repeatable=True, json={}, headers=once(), timeout=PART_TIMEOUT_S))
    return File.model_validate_json(done.content)


def part_request(upload: str, number: int, content: Body | bytes, length: int) -> Request:
    return Request(
        "PUT",
        f"/v1/uploads/{upload}/parts/{number}",
        repeatable=True,
        headers={"Content-Type": "application/octet-stream", "Content-Length": str(length)},
        content=content,
        timeout=PART_TIMEOUT_S,
    )


def digest(path: Path) -> str:
    """The file's sha256, in hexadecimal, read piece by piece."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            sha256.update(piece)
    return sha256.hexdigest()


def _shifted(progress: Progress | None, start: int, size: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(start + done, size)
