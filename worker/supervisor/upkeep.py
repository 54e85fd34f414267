"""A worker's upkeep beside its tasks: it says that it lives, takes back what dead workers held, and tidies up."""

import logging
import math
import os
import shutil
import socket
import time
from collections.abc import Callable

from app.contract.record import Record
from app.contract.results import Catalogue, Renewed
from app.contract.specs import CatalogueRequest, RenewSignatures
from app.core import errors
from app.db.session import now
from app.db.tables import WorkerProcess
from app.networks import service as networks
from app.queue import service as queue
from app.queue import workers
from app.removal import sweep
from app.tournaments import automatic
from app.tournaments import controller as tournaments
from worker.runtime.contract import Result, Spec
from worker.supervisor.attempt import Workplace

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 3600.0
REAP_EVERY_S = 1.0
RENEW_EVERY_S, RENEW_AGAIN_S = 2.0, 3600.0
RENEWAL_S = 600.0  # for one piece
SILENT_LEASES = 3  # a worker that was not heard of for so many leases is struck off the list


def arrive(place: Workplace) -> None:
    """Register, and be ready to start tasks at once."""
    row = WorkerProcess(
        id=place.worker,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=place.settings.device,
        started_at=now(),
        seen_at=now(),
        warm=False,
    )
    with place.database.unit_of_work() as db:
        workers.arrive(db, row)
    clear_scratch(place)
    place.executor.warm()
    publish_networks(place)


def leave(place: Workplace) -> None:
    """Strike it off the list; where the database is away, others do so when it was silent for long enough."""
    try:
        with place.database.unit_of_work() as db:
            workers.leave(db, place.worker)
    except errors.RegraftError as error:
        log.warning("%s: %s", place.worker, error.detail)


def keep_up(place: Workplace) -> None:
    """Do the short chores until the worker is to stop, whatever they meet."""
    _do(
        place,
        _Chore("take back", _take_back, min(REAP_EVERY_S, place.settings.beat_s)),
        _Chore("tournaments", _race, min(REAP_EVERY_S, place.settings.beat_s)),
        _Chore(
            "automatic jobs",
            lambda place: automatic.look_after(place.database),
            min(REAP_EVERY_S, place.settings.beat_s),
        ),
        _Chore("say alive", _say_alive, place.settings.beat_s),
        _Chore("clear scratch", clear_scratch, place.settings.beat_s),
    )


def tidy(place: Workplace) -> None:
    """Do the chores that may take long until the worker is to stop: they hold up none of those of `keep_up`."""
    _do(
        place,
        _Chore("sweep", _sweep, SWEEP_EVERY_S),
        _Chore("signatures", SignatureRenewal(), RENEW_EVERY_S),
    )


def _do(place: Workplace, *chores: "_Chore") -> None:
    while not place.stopping.wait(min(chore.every_s for chore in chores)):
        for chore in chores:
            chore.do_if_due(place)


class _Chore:
    """Done every so often.  One that fails is logged and done again when it is due."""

    def __init__(self, name: str, do: Callable[[Workplace], object], every_s: float) -> None:
        self.every_s = every_s
        self._name, self._do = name, do
        self._done_at = time.monotonic()

    def do_if_due(self, place: Workplace) -> None:
        if time.monotonic() - self._done_at < self.every_s:
            return
        self._done_at = time.monotonic()
        try:
            self._do(place)
        except errors.RegraftError as error:
            log.warning("%s: %s", self._name, error.detail)
        except Exception:  # whatever it is, the chores beside it must go on
            log.exception("%s", self._name)


def publish_networks(place: Workplace) -> None:
    """Tell the API what networks this worker can build; only a process with torch knows."""
    answer = _answered(place, "catalogue", CatalogueRequest())
    if isinstance(answer, Catalogue):
        with place.database.unit_of_work() as db:
            networks.publish(db, answer.entries)


class SignatureRenewal:
    """The chore that has signatures of networks made anew, piece by piece while no task is under way, where the shipped
    ones are of other versions of the libraries than are installed.

    A piece that fails, or takes longer than `RENEWAL_S`, is tried again after `RENEW_AGAIN_S`.
    """

    def __init__(self) -> None:
        self._not_before = 0.0

    def __call__(self, place: Workplace) -> None:
        if time.monotonic() < self._not_before or not place.executor.idle:
            return
        self._not_before = time.monotonic() + RENEW_AGAIN_S
        answer = _answered(place, "signatures", RenewSignatures(), limit_s=RENEWAL_S)
        if isinstance(answer, Renewed):
            self._not_before = math.inf if answer.complete else 0.0


def _answered(place: Workplace, kind: str, payload: Record, limit_s: float = math.inf) -> Record | None:
    """The answer of a child to a question of the worker's own; None where there is none in time, or it is to stop."""
    settings, deadline = place.settings, time.monotonic() + limit_s
    spec = Spec(kind, place.worker, payload, {}, settings.scratch, signatures=settings.signatures)
    running = place.executor.start(spec)
    try:
        while not place.stopping.is_set() and time.monotonic() < deadline:
            event = running.next(timeout_s=1.0)
            if isinstance(event, Result):
                outcome: Record = event.outcome
                return outcome
        return None
    finally:
        running.kill()


def clear_scratch(place: Workplace) -> None:
    """Remove what attempts left behind whose worker was killed; folders are named by the claim's token."""
    place.settings.scratch.mkdir(parents=True, exist_ok=True)
    folders = list(place.settings.scratch.iterdir())  # before the tokens are read: a newer claim has none here
    if not folders:
        return
    with place.database.reading() as db:
        held = queue.tokens(db)
    for folder in folders:
        if folder.name not in held:
            shutil.rmtree(folder, ignore_errors=True)


def _say_alive(place: Workplace) -> None:
    with place.database.unit_of_work() as db:
        workers.confirm_alive(db, place.worker, warm=True, silence_s=SILENT_LEASES * place.settings.lease_s)


def _sweep(place: Workplace) -> None:
    if count := sweep.sweep(place.database, place.blobs, wanted=lambda: not place.stopping.is_set()):
        log.info("swept: %d blobs that nothing mentions", count)


def _race(place: Workplace) -> None:
    """Move the tournaments none of whose jobs is on its way, each by itself: one that cannot be moved holds up none."""
    with place.database.reading() as db:
        due = tournaments.due(db)
    for tournament in due:
        try:
            with place.database.unit_of_work() as db:
                tournaments.advance(db, tournament)
        except errors.RegraftError as error:  # somebody has moved one of its jobs meanwhile
            log.warning("%s: %s", tournament, error.detail)


def _take_back(place: Workplace) -> None:
    with place.database.reading() as db:
        expired, cascades = queue.expired(db), queue.cascades(db)
    if expired:
        with place.database.unit_of_work() as db:
            log.warning("taken back from workers that were lost: %s", ", ".join(queue.reap(db)))
    while cascades and not place.stopping.is_set():
        with place.database.unit_of_work() as db:
            cascades = queue.cascade(db)
