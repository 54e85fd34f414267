"""Tensors on disk by what they were computed from, shared by all processes that are given the same folder."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

WORD = 8  # bytes
SUFFIX = ".safetensors"
ABANDONED_S = 3600.0  # after so long nobody writes on at a file that is not finished


class _Entry(NamedTuple):
    used_at: float
    size: int
    path: Path


class Cache:
    """A folder of at most `max_bytes` of files: those that were not read for longest go first.

    Whoever computes the same may write the same at the same time: a file appears whole or not at all.  A disk that is
    full, or a file that is broken or gone, costs time and nothing else.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self.max_bytes = folder, max_bytes

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors put under `key` (hex), bit for bit, on the CPU; None where they are not there or broken.

        The tensors are memory-mapped: pages of the file, read when they are looked at, and each process's own where it
        writes to them.
        """
        path = self._path(key)
        try:
            tensors = _read(path)
            os.utime(path)
        except (FileNotFoundError, RuntimeError):  # the latter from PyTorch, where it is gone when it is to be mapped
            return None
        except (OSError, SafetensorError, _Damaged):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Tensors on the CPU, contiguous."""
        if sum(tensor.nbytes for tensor in tensors.values()) > self.max_bytes:
            return
        with suppress(OSError, SafetensorError):
            self._write(self._path(key), tensors)
            self._evict()

    def _path(self, key: str) -> Path:
        return self._folder / (key + SUFFIX)

    def _write(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)
        os.close(handle)
        unfinished = Path(name)
        try:
            save_file(dict(tensors), unfinished, {name: _checksum(tensor) for name, tensor in tensors.items()})
            unfinished.replace(path)
        except (OSError, SafetensorError):
            unfinished.unlink(missing_ok=True)
            raise

    def _evict(self) -> None:
        entries = sorted(self._entries())
        excess = sum(entry.size for entry in entries) - self.max_bytes
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


class _Damaged(Exception):
    pass


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if file.metadata() != {name: _checksum(tensor) for name, tensor in tensors.items()}:
            raise _Damaged
    return tensors


def _checksum(tensor: Tensor) -> str:
    """The sum of its 64-bit words, hex: notices a bit that turned or a page of zeros, as fast as memory is read."""
    bytes_ = tensor.reshape(-1).view(torch.uint8).numpy()
    words, rest = np.split(bytes_, [len(bytes_) // WORD * WORD])
    return f"{(int(words.view(np.uint64).sum()) + int(rest.sum())) % 2**64:016x}"
