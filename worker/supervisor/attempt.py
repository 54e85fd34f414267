"""One claimed task, from its claim to its end: every way that it can end is here."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import TypeVar

from sqlalchemy.orm import Session

from app.blobs.store import Blobs
from app.contract.blobs import Written
from app.contract.record import Record
from app.contract.results import Packaged
from app.core import errors, plain
from app.core.settings import Settings
from app.core.status import TERMINAL, Status
from app.db.session import Database
from app.db.tables import Task
from app.jobs import service as jobs
from app.queue import service as queue
from app.queue.service import Claim, LeaseLost
from app.serving import sizes
from app.usage import service as usage
from worker.executors.base import Attempt, Crashed, Executor
from worker.runtime.contract import Command, Failure, Interrupted, Note, Result, Retry, Snapshot, Spec
from worker.supervisor.journal import Journal
from worker.supervisor.lease import Lease
from worker.tasks.registry import KINDS

log = logging.getLogger(__name__)

TICK_S = 0.1
PATIENCE_S = 5.0  # before a task starts again whose surroundings failed
REMARKS = ("transfer", "report")  # parts of a result whose figures may be null
NAMED = 5  # of many figures that are wrong
AGAIN_S = 0.5  # before a write is tried again that the database could not take


T = TypeVar("T")
End = Callable[[Session, Task], None]
How = Interrupted | Failure | Retry | Crashed | errors.RegraftError | Exception


@dataclass(frozen=True)
class Workplace:
    """The worker's resources that all its attempts share; `stopping` is set when the worker is to end."""

    worker: str
    database: Database
    blobs: Blobs
    executor: Executor
    settings: Settings
    stopping: Flag


def attempt(place: Workplace, claim: Claim) -> None:
    """Run the task to whatever end it comes to, and record that end; only a lost lease records nothing."""
    settings = place.settings
    log.info("%s: claimed (%s, attempt %d)", claim.id, claim.kind, claim.attempt)
    with Lease(place.database, claim, lease_s=settings.lease_s, beat_s=settings.beat_s) as lease:
        try:
            _Attempt(place, claim, lease).run()
        except LeaseLost:
            log.warning("%s: the lease was lost; another worker has it, or it was deleted", claim.id)


class _Attempt:
    def __init__(self, place: Workplace, claim: Claim, lease: Lease) -> None:
        self._place, self._claim, self._lease = place, claim, lease
        self._journal = Journal(claim)
        self._snapshot = claim.snapshot
        self._inputs: list[str] = []

    def run(self) -> None:
        try:
            with _folder(self._place.settings.scratch / self._claim.token) as workdir:
                self._publish(self._follow(self._spec(workdir)))
        except LeaseLost:
            raise
        except Exception as how:  # noqa: BLE001  # whatever it is, whoever waits for the task is to read of it now
            self._end_without_result(self._cause(how))

    def _spec(self, workdir: Path) -> Spec[Record]:
        settings, blobs, kind = self._place.settings, self._place.blobs, KINDS[self._claim.kind]
        prepared = self._write(lambda db, task: kind.prepare(db, task.id))
        self._inputs = list(prepared.inputs.values())
        return Spec(
            kind=self._claim.kind,
            subject=self._claim.id,
            payload=prepared.spec,
            inputs={role: blobs.path(sha256) for role, sha256 in prepared.inputs.items()},
            workdir=workdir,
            snapshot=self._resumed(),
            device=settings.device,
            snapshot_every_s=settings.snapshot_every_s,
            memory_bytes=settings.ingest_memory_bytes if kind.untrusted else None,
            cache=None if kind.untrusted else settings.cache / "features",
            cache_bytes=settings.feature_cache_bytes,
            resident_bytes=settings.resident_bytes,
            pixel_bytes=settings.max_dataset_bytes,
            min_free_bytes=settings.min_free_bytes,
            job_bytes=settings.job_memory_bytes or None,
            signatures=settings.signatures,
        )

    def _resumed(self) -> Path | None:
        """The state to go on from; where it is gone or damaged, the task starts anew and ends the same."""
        if self._snapshot is None:
            return None
        try:
            self._place.blobs.require_sound(self._snapshot)
            return self._place.blobs.path(self._snapshot)
        except errors.BlobLost:
            log.warning("%s: its snapshot %s is gone or damaged", self._claim.id, self._snapshot)
            self._journal.add(
                Note("snapshot_lost", "Its saved state is gone or damaged: it starts anew.", level="warning")
            )
            return None

    def _follow(self, spec: Spec[Record]) -> Result[Record]:
        """Everything that the task says, until its result."""
        running = self._place.executor.start(spec)
        orders = _Orders(running, self._place.settings.grace_s)
        began_at = time.monotonic()
        try:
            while True:
                self._lease.check()
                self._require_time(time.monotonic() - began_at)
                orders.pass_on(self._wanted())
                match event := running.next(TICK_S):
                    case Result():
                        return event
                    case Snapshot(path):
                        self._keep(path)
                    case _ if event is not None:
                        self._journal.add(event)
                if self._journal.due:
                    self._flush()
        finally:
            running.kill()

    def _require_time(self, seconds: float) -> None:
        """
        Raises:
            Failure: `too_long`, the task has run for as long as it may.
        """
        if self._claim.left_s is not None and seconds >= self._claim.left_s:
            message = "It has run for `max_seconds`, over all attempts: what it has learned is not kept."
            raise Failure("too_long", message)

    def _wanted(self) -> Command | None:
        if self._lease.wish == "cancel" or not self._place.stopping.is_set():
            return self._lease.wish
        return "shutdown"

    def _keep(self, path: Path) -> None:
        sha256 = self._place.blobs.put_file(path).sha256
        path.unlink()
        self._flush()  # a resume must not find a state that is ahead of its metrics
        self._write(lambda db, task: queue.keep(db, self._claim, sha256))
        before, self._snapshot = self._snapshot, sha256
        if before != sha256:
            self._drop(before)

    def _drop(self, snapshot: str | None) -> None:
        """Delete a state that no row mentions any more.  No two have the same bytes, so nobody else's is harmed."""
        if snapshot is None:
            return
        try:
            self._place.blobs.delete(snapshot)
        except errors.RegraftError as error:  # the sweep will
            log.warning("%s: its snapshot %s stays for now: %s", self._claim.id, snapshot, error.detail)

    def _publish(self, result: Result[Record]) -> None:
        """Artifacts first, content-addressed; then all rows that mention them and the end of the task, at once."""
        outcome = self._servable(self._finite(result.outcome))
        with ExitStack() as stack:
            staging = self._place.blobs.staging_file
            staged = {role: stack.enter_context(staging(path)) for role, path in result.artifacts.items()}
            addresses = {role: blob.sha256 for role, blob in staged.items()}
            written = Written(addresses, sum(blob.bytes for blob in staged.values()))

            def publish(db: Session, task: Task) -> None:
                if task.status == Status.CANCELLING:
                    return queue.stop(db, task)
                KINDS[self._claim.kind].publish(db, task.id, outcome, written)
                usage.require(db, task.owner, self._place.settings.max_owner_bytes)
                queue.succeed(db, task)
                for blob in staged.values():
                    blob.keep()
                return None

            self._end(publish)

    def _servable(self, outcome: Record) -> Record:
        """A network that takes more for one image than all predictions may is not served, and says why."""
        limit_bytes = self._place.settings.predict_memory_bytes
        if not isinstance(outcome, Packaged) or (outcome.image_bytes or 0) <= limit_bytes:
            return outcome
        return outcome.model_copy(update={"not_servable": sizes.too_large(outcome.image_bytes or 0, limit_bytes)})

    def _finite(self, outcome: Record) -> Record:
        """The outcome with null and a warning in the place of remarks that are no finite numbers.

        Raises:
            Failure: a figure is none that has to be one.
        """
        wrong = list(plain.not_finite(outcome.dump()))
        if figures := [path for path in wrong if path.partition(".")[0] not in REMARKS]:
            code = "diverged" if self._claim.kind == jobs.KIND else "not_finite"
            raise Failure(code, f"No finite number: {_some(figures)}.")
        if wrong:
            message = f"Null stands for what is no finite number: {_some(wrong)}."
            self._journal.add(Note("not_finite", message, level="warning"))
        remarks = {name: getattr(outcome, name, None) for name in REMARKS}
        finite = {
            name: remark.load(plain.without_not_finite(remark.dump()))
            for name, remark in remarks.items()
            if isinstance(remark, Record)
        }
        return outcome.model_copy(update=finite) if wrong else outcome

    def _cause(self, how: How) -> How:
        """The cause of a task's end: that a file which it read is damaged, where one is; else what the task itself came
        to."""
        if isinstance(how, Failure | Crashed):
            try:
                self._place.blobs.require_sound(*self._inputs)
            except errors.BlobLost as lost:
                return lost
            except errors.Unavailable as unavailable:  # then it cannot be told
                log.warning("%s: %s", self._claim.id, unavailable.detail)
        return how

    def _end_without_result(self, how: How) -> None:
        if not isinstance(how, Interrupted | Failure | Retry | Crashed | errors.RegraftError):
            log.exception("%s", self._claim.id, exc_info=how)
        effect = partial(_record, how)
        try:
            self._end(effect)
        except LeaseLost:
            raise
        except Exception:  # what it has said cannot be written: its end is
            log.exception("%s: its log", self._claim.id)
            self._journal.written()
            self._end(effect)

    def _end(self, effect: End) -> None:
        self._flush()
        status = self._write(lambda db, task: _ended(effect, db, task))
        log.info("%s: %s", self._claim.id, status.value)
        if status in TERMINAL:
            self._drop(self._snapshot)

    def _flush(self) -> None:
        self._write(lambda db, _: self._journal.write(db))
        self._journal.written()

    def _write(self, effect: Callable[[Session, Task], T]) -> T:
        """`effect` in one transaction under the claim; as long as that may hold, again while the database is away.

        Raises:
            LeaseLost: the claim no longer holds.
        """
        while True:
            self._lease.check()
            try:
                with self._place.database.unit_of_work() as db:
                    return effect(db, queue.hold(db, self._claim))
            except errors.Unavailable as unavailable:
                log.warning("%s: %s", self._claim.id, unavailable.detail)
                time.sleep(AGAIN_S)


def _record(how: How, db: Session, task: Task) -> None:
    """Write down that the task ended without a result."""
    match how:
        case Interrupted(command="cancel"):
            queue.stop(db, task)
        case Interrupted(command="pause"):
            queue.lay_down(db, task)
        case Interrupted():
            queue.requeue(db, task, "Its worker was shut down.", counted=False)
        case Failure(code=code, message=message):
            queue.fail(db, task, code, message)
        case Retry(message=message, after_s=after_s, code=code):
            queue.retry_or_fail(db, task, code, message, after_s)
        case Crashed(reason=reason):
            queue.retry_or_fail(db, task, "crashed", reason)
        case errors.Unavailable(detail=detail):
            queue.requeue(db, task, detail, counted=False, after_s=PATIENCE_S)
        case errors.StorageFull(code=code, detail=detail):
            queue.retry_or_fail(db, task, code, detail, PATIENCE_S)
        case errors.RegraftError(code=code, detail=detail):  # what was asked for turned out not to fit, or is gone
            queue.fail(db, task, code, detail)
        case _:
            queue.retry_or_fail(db, task, "internal", f"A fault of the service itself: {_sentence(how)}", PATIENCE_S)


def _ended(effect: End, db: Session, task: Task) -> Status:
    """Apply the effect, and give the task's status after it; if that is terminal, what it had saved is of no use any
    more."""
    effect(db, task)
    return Status(task.status)


def _sentence(error: Exception) -> str:
    """The error's type and first line, without the statement in which the database met it."""
    cause = getattr(error, "orig", None) or error
    first = next(iter(str(cause).splitlines()), "")
    return f"{type(cause).__name__}: {first}".rstrip(":. ") + "."


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:NAMED]) + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")


class _Orders:
    """Commands to a task, each given once; one that is not obeyed within `grace_s` is carried out by force."""

    def __init__(self, running: Attempt, grace_s: float) -> None:
        self._running, self._grace_s = running, grace_s
        self._passed_on: Command | None = None
        self._deadline = 0.0

    def pass_on(self, wanted: Command | None) -> None:
        """
        Raises:
            Interrupted: the order was given long ago; whoever holds the task is to kill it.
        """
        if wanted is None:
            return
        if wanted != self._passed_on:
            self._running.order(wanted)
            self._passed_on, self._deadline = wanted, time.monotonic() + self._grace_s
        elif time.monotonic() > self._deadline:
            raise Interrupted(wanted)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
