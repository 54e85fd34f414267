"""The worker's composition root: settings, signals, lanes."""

import logging
import os
import signal
import threading
from threading import Event as Flag
from types import FrameType
from typing import get_args

from app.blobs.store import Blobs
from app.core import ids
from app.core.settings import Settings
from app.db.session import Database
from app.queue.service import Lane
from migrations import schema
from worker.executors.local import LocalExecutor
from worker.loop import lane, upkeep
from worker.loop.attempt import Workplace

log = logging.getLogger(__name__)


def main() -> None:
    """Works until SIGTERM or SIGINT; the steps under way are saved and given back.  A second signal ends it at once."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker %(levelname)s %(message)s")
    settings = Settings()
    stopping = _signalled()
    database = Database(settings.database)
    schema.require_current(database.engine)
    place = Workplace(
        worker=ids.new("worker"),  # fresh at each start: nobody takes us for the one that was here before
        database=database,
        blobs=Blobs(settings.blobs, min_free_bytes=settings.min_free_bytes, cache=settings.cache),
        executor=LocalExecutor(),
        settings=settings,
        stopping=stopping,
    )
    work(place)
    database.close()


def work(place: Workplace) -> None:
    """All lanes, each in a thread of its own, until the worker is to stop."""
    upkeep.arrive(place)
    log.info("%s is ready", place.worker)
    lanes = [threading.Thread(target=lane.work, args=(place, name), name=name) for name in get_args(Lane)]
    for thread in lanes:
        thread.start()
    upkeep.keep_up(place)
    for thread in lanes:
        thread.join()
    upkeep.leave(place)
    place.executor.close()


def _signalled() -> Flag:
    stopping = Flag()

    def receive(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(1)  # children end with us
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, receive)
    return stopping
