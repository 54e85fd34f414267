"""A full disk is nobody's fault: the step is tried again."""

import contextlib
import errno
from collections.abc import Iterator

from worker.engine.contract import Retry

RETRY_S = 60.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: no file of ours may be larger than what was free


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
        raise Retry(f"The disk has no room for {what}.", RETRY_S) from error
