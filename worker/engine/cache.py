"""Tensors on disk by what they were computed from, shared by all processes that are given the same folder."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

SUFFIX = ".tensors"
DIGEST_BYTES = 32
ABANDONED_S = 3600.0  # after so long nobody writes on at a file that is not finished


class _Entry(NamedTuple):
    used_at: float
    size: int
    path: Path


class Cache:
    """At most `max_bytes` of files: those that were not read for longest go first.

    Whoever computes the same may write the same at the same time: a file appears whole or not at all.  A disk that is
    full, or a file that is broken or gone, costs time and nothing else.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def get(self, key: str) -> dict[str, Tensor] | None:
        """What was put under `key` (hex), bit for bit; None where it is not there or broken."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        digest, body = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(body).digest() == digest:
            with suppress(SafetensorError):
                return load(body)
        path.unlink(missing_ok=True)
        return None

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        body = save(dict(tensors))
        if len(body) + DIGEST_BYTES > self._max_bytes:
            return
        with suppress(OSError):
            self._write(self._path(key), body)
            self._evict()

    def _path(self, key: str) -> Path:
        return self._folder / (key + SUFFIX)

    def _write(self, path: Path, body: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            try:
                file.write(hashlib.sha256(body).digest())
                file.write(body)
                file.close()
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _evict(self) -> None:
        entries = sorted(self._entries())
        excess = sum(entry.size for entry in entries) - self._max_bytes
        for entry in entries:
            unfinished = entry.path.suffix != SUFFIX
            if unfinished and entry.used_at > time.time() - ABANDONED_S:
                continue
            if unfinished or excess > 0:
                entry.path.unlink(missing_ok=True)
                excess -= entry.size

    def _entries(self) -> Iterator[_Entry]:
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process was faster
                status = path.stat()
                yield _Entry(status.st_mtime, status.st_size, path)
