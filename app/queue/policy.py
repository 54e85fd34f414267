"""The policy of the queue: which of an owner's tasks start first, how many there may be, and when one will start."""

import heapq
import time
from collections.abc import Callable
from statistics import median
from typing import Literal

from sqlalchemy.orm import Session

from app.core import errors
from app.queue import repository
from app.queue.repository import Pace
from app.usage.repository import take_turns

Priority = Literal["low", "normal", "high"]
RANKS: dict[Priority, int] = {"high": -1, "normal": 0, "low": 1}  # the least starts first
QUESTION = -2  # what takes seconds, and somebody waits for
RECENT = 20  # tasks that have ended, by which the length of the next is reckoned
GOOD_FOR_S = 2.0  # a pace: whoever polls does not have it measured each time

_paces: dict[tuple[str, str], tuple[float, Pace]] = {}  # by database and lane


def priority(rank: int) -> Priority:
    """The priority of a task of that rank."""
    return next((name for name, one in RANKS.items() if one == rank), "high")


def require_room(db: Session, owner: str, most: int) -> None:
    """After the rows of a new task were written, in their transaction.

    Raises:
        TooManyTasks: the owner has more than `most` tasks now that have not ended, unless `most` is 0.
    """
    if not most:
        return
    take_turns(db, owner)
    if repository.unfinished(db, owner, "run") > most:
        raise errors.TooManyTasks(
            f"An owner may have {most} jobs and questions at a time that wait, run or are paused: let some end, or "
            "cancel some."
        )


def starts_in(db: Session, lane: str) -> Callable[[int], float | None]:
    """Seconds until the task at a position of the lane's queue starts, as far as can be told: the workers that live
    take up one after another, and each task takes as long as the median of the last ones, those that run what they
    say."""
    workers, running, ended = _pace(db, lane)
    usual = median(ended) if ended else None

    def estimate(position: int) -> float | None:
        left = [usual if eta is None else eta for eta in running]
        if not workers or any(one is None for one in left):
            return None
        free = sorted(one for one in left if one is not None)[:workers]
        free = [0.0] * (workers - len(free)) + free
        heapq.heapify(free)
        for _ in range(position):
            if usual is None:
                return None
            heapq.heapreplace(free, free[0] + usual)
        return round(free[0], 1)

    return estimate


def _pace(db: Session, lane: str) -> Pace:
    """The pace of the lane, as this process has measured it not long ago."""
    place = str(db.get_bind().engine.url), lane
    known = _paces.get(place)
    if known is None or time.monotonic() - known[0] > GOOD_FOR_S:
        known = _paces[place] = time.monotonic(), repository.pace(db, lane, RECENT)
    return known[1]
