"""Tasks of one lane, one after another."""

import logging

from app.core import errors
from app.queue import service as queue
from app.queue.service import Claim, Lane
from worker.supervisor.attempt import Workplace, attempt

log = logging.getLogger(__name__)

RECOVER_S = 1.0


def work(place: Workplace, lane: Lane) -> None:
    """Claim, run and record tasks until the worker is to stop.  Whatever goes wrong, the lane goes on."""
    while not place.stopping.is_set():
        try:
            claimed = _claim(place, lane)
            if claimed is None:
                place.stopping.wait(place.settings.poll_s)
            else:
                attempt(place, claimed)
        except errors.Unavailable as unavailable:
            log.warning("lane %s: %s", lane, unavailable.detail)
            place.stopping.wait(RECOVER_S)
        except Exception:  # a fault of our own: the lease runs out, and the attempt counts
            log.exception("lane %s", lane)
            place.stopping.wait(RECOVER_S)


def _claim(place: Workplace, lane: Lane) -> Claim | None:
    with place.database.reading() as db:
        if not queue.waits(db, lane):  # an idle worker takes no write lock
            return None
    with place.database.unit_of_work() as db:
        settings = place.settings
        return queue.claim(db, lane, worker=place.worker, lease_s=settings.lease_s, max_attempts=settings.max_attempts)
