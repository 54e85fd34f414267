"""A full disk is nobody's fault: the step is tried again.  A file that would fill it is its sender's."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from worker.runtime.contract import Failure, Retry

RETRY_S = 60.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: no file of ours may be larger than what was free
STORAGE_FULL = "storage_full"
MAX_RATIO = 1000  # of bytes of pixels to bytes of the file: photographs come to 30, drawings to 300 …
HARMLESS_BYTES = 64 * 2**20  # … once there are more of them than these
LOOK_EVERY_BYTES = 16 * 2**20  # at how much is free


@contextlib.contextmanager
def room_for(what: str) -> Iterator[None]:
    """
    Raises:
        Retry: what is done within found the disk full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise full(what) from error


def full(what: str) -> Retry:
    return Retry(f"The disk has no room for {what}.", RETRY_S, STORAGE_FULL)


def require_free(folder: Path, needed: int) -> None:
    """
    Raises:
        OSError: fewer than `needed` bytes are free on the disk of `folder`.
    """
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, "Too little would be left on the disk")


@dataclass
class PixelFile:
    """Counts the pixels that are written to `folder`: at most `most` bytes, and `MAX_RATIO` times the `packed` bytes
    of the file that they come from; `min_free` bytes stay free."""

    folder: Path
    packed: int
    most: int
    min_free: int
    written: int = field(default=0, init=False)
    _looked_at: int = field(default=-LOOK_EVERY_BYTES, init=False)

    def spend(self, count: int) -> None:
        """Before they are written.

        Raises:
            Failure: `dataset_too_large`, `archive_bomb`.
            OSError: the disk is full.
        """
        self.written += count
        if self.written > self.most:
            message = f"Its images have more than {self.most:,} bytes of pixels: split it, or shrink them."
            raise Failure("dataset_too_large", message)
        if self.written > max(HARMLESS_BYTES, MAX_RATIO * self.packed):
            message = f"Its images have more than {MAX_RATIO:,} times as many bytes of pixels as the file has bytes."
            raise Failure("archive_bomb", message)
        if self.written - self._looked_at >= LOOK_EVERY_BYTES:
            self._looked_at = self.written
            require_free(self.folder, self.min_free + count)
