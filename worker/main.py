"""The worker's composition root: settings, signals, lanes."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from threading import Event as Flag
from types import FrameType
from typing import get_args

from app.blobs.store import Blobs
from app.core import ids, private
from app.core.settings import Settings
from app.core.version import code_version
from app.db import schema
from app.db.session import Database
from app.queue.service import Lane
from worker.executors import confinement
from worker.executors.local import LocalExecutor
from worker.supervisor import lane, upkeep
from worker.supervisor.attempt import Workplace

log = logging.getLogger(__name__)

SECRETS = ("REGRAFT_DATABASE_URL", "REGRAFT_BLOB_URL")  # with passwords in them


def main() -> None:
    """Works until SIGTERM or SIGINT; the tasks under way are saved and given back.  A second signal ends all at once.

    Raises:
        Broken: a part of it ended by itself.
    """
    settings = Settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s worker %(levelname)s %(message)s")
    private.keep(settings)
    executor = LocalExecutor()
    stopping = _signalled(executor)
    database = Database(settings.database)
    schema.require_current(database.engine)
    place = Workplace(
        worker=ids.new("worker"),  # fresh at each start: nobody takes us for the one that was here before
        database=database,
        blobs=Blobs(settings.blobs, min_free_bytes=settings.min_free_bytes, cache=settings.cache),
        executor=executor,
        settings=settings,
        stopping=stopping,
    )
    for secret in SECRETS:
        os.environ.pop(secret, None)  # tasks need them as little as those who send files
    work(place)
    database.close()


class Broken(Exception):
    """A thread of the worker ended before it was to; the message names it."""


def work(place: Workplace) -> None:
    """All lanes, each in a thread of its own, until the worker is to stop, or one of its parts has ended: what runs
    without its upkeep would look dead to the others.

    Raises:
        Broken: a part ended by itself.
    """
    if (fault := confinement.missing()) is not None:
        log.warning("what users send is read by processes that keep network and processes: %s", fault)
    upkeep.arrive(place)
    log.info("%s is ready (Regraft %s)", place.worker, code_version())
    broken: list[str] = []

    def whole(part: Callable[[], None], name: str) -> None:
        try:
            part()
        finally:
            if not place.stopping.is_set():
                broken.append(name)
                place.stopping.set()

    parts = {name: partial(lane.work, place, name) for name in get_args(Lane)}
    threads = [
        threading.Thread(target=whole, args=(part, name), name=name)
        for name, part in {**parts, "tidy": partial(upkeep.tidy, place)}.items()
    ]
    for thread in threads:
        thread.start()
    try:
        whole(partial(upkeep.keep_up, place), "upkeep")
    finally:
        for thread in threads:
            thread.join()
        upkeep.leave(place)
        log.info("%s has stopped", place.worker)
        place.executor.close()
    if broken:
        raise Broken(f"{', '.join(broken)}: ended by itself; the worker stops.")


def _signalled(executor: LocalExecutor) -> Flag:
    stopping = Flag()

    def receive(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            executor.kill()
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, receive)
    return stopping
