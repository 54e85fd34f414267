"""Pixels that memory is not to hold: in a file of the run's own, whose pages come and go with use."""

import errno
import math
import mmap
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MemmapPolicy:
    """Images of more than `resident_bytes` are kept in `folder`, on whose disk `min_free_bytes` stay free."""

    folder: Path
    resident_bytes: int
    min_free_bytes: int = 0


class Memmap:
    """`pixels_NHWC`, zero at first, in a file without a name: it is gone with the process."""

    def __init__(self, folder: Path, shape: tuple[int, ...], *, min_free_bytes: int = 0) -> None:
        """
        Raises:
            OSError: the disk has no room for them.
        """
        self._row_bytes = math.prod(shape[1:])
        size = self._row_bytes * shape[0]
        if shutil.disk_usage(folder).free < size + min_free_bytes:
            raise OSError(errno.ENOSPC, "Too little would be left on the disk")
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is to be noticed here, not by a signal later
            self._map = mmap.mmap(file.fileno(), size)
        self.pixels_NHWC: Pixels = np.frombuffer(self._map, np.uint8).reshape(shape)

    def soon(self, index_B: Tensor) -> None:
        """Have the system read these rows, which are wanted next; does not wait for it."""
        for row in index_B.tolist():
            start = row * self._row_bytes
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start - page + self._row_bytes)
