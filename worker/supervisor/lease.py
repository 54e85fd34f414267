"""A claim kept alive, from a thread that neither training nor uploads can hold up."""

import logging
import threading
import time
from typing import Self

from app.core import errors
from app.db.session import Database
from app.queue import service as queue
from app.queue.service import Claim, LeaseLost, Wish

log = logging.getLogger(__name__)

WISH_S = 0.5  # how often users' wishes are looked for: one indexed read


class Lease:
    """Within, the claim is prolonged every `beat_s`; it is `lost` once that failed for `lease_s`, or was refused."""

    def __init__(self, database: Database, claim: Claim, *, lease_s: float, beat_s: float) -> None:
        self._database, self._claim = database, claim
        self._lease_s, self._beat_s = lease_s, beat_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.id}", daemon=True)
        self.lost = False
        self.wish: Wish | None = None

    def check(self) -> None:
        """
        Raises:
            LeaseLost: the claim no longer holds, or nobody keeps it alive any more.
        """
        if self.lost or not self._thread.is_alive():
            raise LeaseLost(self._claim.id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        held_at = time.monotonic()  # the claim itself was a beat
        while not self.lost and not self._ended.wait(min(WISH_S, self._beat_s)):
            now = time.monotonic()
            try:
                if now - held_at < self._beat_s:
                    self.wish = self._look()
                else:
                    self.wish = self._beat()
                    held_at = now
            except LeaseLost:
                self.lost = True
            except Exception as error:  # mostly the database is away; whatever it is, it must not end the beats
                if not isinstance(error, errors.RegraftError):
                    log.exception("%s: its lease", self._claim.id)
                self.lost = now - held_at > self._lease_s

    def _look(self) -> Wish | None:
        with self._database.reading() as db:
            return queue.wish(db, self._claim)

    def _beat(self) -> Wish | None:
        with self._database.unit_of_work() as db:
            return queue.heartbeat(db, self._claim, self._lease_s)
