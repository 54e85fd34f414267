"""The rules of background tasks: one table of moves, and every write of a worker fenced by its claim's token.

A worker claims a task under a fresh token and a lease; whoever writes for the task shows the token.  When the lease
has run out (by the database's clock alone) the task is taken up by another worker, and the old token opens nothing.
"""

import secrets
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.orm import Session

from app.core import errors, plain
from app.core.status import TERMINAL, Status, may_move
from app.db.paging import Order
from app.db.session import now
from app.db.tables import EventRow, Task, Warned
from app.queue import repository

Lane = Literal["ingest", "run"]
AnyLane = Literal["ingest", "run", "control"]  # no worker works on the last one: see `controlled`
Wish = Literal["cancel", "pause"]
MAX_ATTEMPTS = 3
MAX_WARNINGS = 50  # of an object; its events have them all
TURNS_AT_ONCE = 64  # that a claim looks at: most have a task
FAILED_AT_ONCE = 100  # tasks that fail in one transaction because what they needed has


class LeaseLost(Exception):
    """The claim no longer holds: the task was taken up by another worker, or deleted.  Write nothing for it."""


@dataclass(frozen=True)
class Claim:
    """A task in a worker's hands; `attempt` counts from 1, `snapshot` is the blob to go on from.  It may run `left_s`
    more seconds; None: as long as it takes."""

    id: str
    kind: str
    token: str
    attempt: int
    snapshot: str | None
    left_s: float | None = None


def enqueue(
    db: Session,
    *,
    id: str,
    kind: str,
    lane: AnyLane,
    owner: str,
    needs: Collection[str],
    born: Status = Status.QUEUED,
    warnings: Sequence[Warned] = (),
) -> Task:
    """The task of the object `id`; it starts once the tasks of all that it `needs` have succeeded, and has failed at
    once where one of them will not.  `warnings` are known from the start."""
    task = Task(
        id=id,
        seq=repository.next_seq(),
        kind=kind,
        lane=lane,
        owner=owner,
        status=born,
        attempt=0,
        max_attempts=MAX_ATTEMPTS,
        step=0,
        warnings=list(warnings),
        available_at=now(),
        created_at=now(),
        finished_at=now() if born in TERMINAL else None,
    )
    repository.add(db, task)
    repository.depend(db, id, needs)
    _tell(db, id, born, "Waiting for its turn." if born is Status.QUEUED else "Done.")
    if born is Status.QUEUED:
        _line_up(db, task)
    return task


def depend(db: Session, dependent: str, needs: Collection[str]) -> None:
    """`dependent` keeps what it `needs` from being deleted."""
    repository.depend(db, dependent, needs)


def release(db: Session, dependent: str, needed: str) -> None:
    """`dependent` does without `needed` from now on, which may be deleted."""
    repository.release(db, dependent, needed)


def needs(db: Session, dependent: str) -> list[str]:
    return repository.needs(db, dependent)


def forget(db: Session, object_id: str) -> None:
    """Remove the object's task with all that it said, and what the object needed."""
    repository.forget(db, object_id)


# --- what users may ask for


def cancel(db: Session, task_id: str) -> None:
    """Cancel a task, at once where it waits; a running task is told to stop, and is cancelled even if it finishes
    first.

    Raises:
        NotFound, WrongStatus: it has ended.
    """
    task = _locked(db, task_id)
    match Status(task.status):
        case Status.CANCELLING:
            return
        case Status.RUNNING:
            _move(db, task, Status.CANCELLING, "Asked to stop.")
        case _:
            _end(db, task, Status.CANCELLED, "Cancelled.")
            _fail_waiting(db, task)


def pause(db: Session, task_id: str) -> None:
    """Pause a task, at once where it waits; a running task stops at its next batch and keeps its state.

    Raises:
        NotFound, WrongStatus: it neither waits nor runs.
    """
    task = _locked(db, task_id)
    if task.status == Status.RUNNING:
        task.requested = "pause"
        note(db, task_id, "pausing", "Asked to pause.")
    else:
        _move(db, task, Status.PAUSED, "Paused before it ran.")


def resume(db: Session, task_id: str) -> None:
    """
    Raises:
        NotFound, WrongStatus: it is not paused.
    """
    task = _locked(db, task_id)
    if task.status != Status.PAUSED:
        raise _refusal(task, Status.QUEUED)
    _requeue(db, task, "Resumed.")
    _wake(db, task)


def retry(db: Session, task_id: str) -> None:
    """Queue a task again from the start, with all its attempts before it.

    Raises:
        NotFound, WrongStatus: it has neither failed nor been cancelled.
    """
    task = _locked(db, task_id)
    if task.status not in (Status.FAILED, Status.CANCELLED):
        raise _refusal(task, Status.QUEUED)
    repository.forget_metrics(db, task_id)
    for field in ("snapshot", "error_code", "error_message", "started_at", "finished_at", "total_steps", "eta_s"):
        setattr(task, field, None)
    task.attempt, task.step, task.ran_s = 0, 0, 0.0
    task.warnings = []
    task.cascading = False
    task.seq = repository.next_seq()
    _requeue(db, task, "To be tried again.")
    _line_up(db, task)


# --- what workers do


def waits(db: Session, lane: Lane) -> bool:
    """Tell whether there may be a task in the lane that can start."""
    return repository.any_ready(db, lane)


def claim(db: Session, lane: Lane, *, worker: str, lease_s: float, max_attempts: int = MAX_ATTEMPTS) -> Claim | None:
    """The next task of the lane: owners take turns, and an owner's tasks start by their rank and their arrival.

    It may break, or lose its worker, `max_attempts` times in all.
    """
    token = secrets.token_hex(16)
    for number in range(TURNS_AT_ONCE):
        owner = repository.next_turn(db, lane, wait=number == 0)
        if owner is None:
            return None
        task = repository.claim(db, lane, owner, worker=worker, token=token, lease_s=lease_s, max_attempts=max_attempts)
        if task is not None:
            note(db, task.id, "started", f"Attempt {task.attempt} of {task.max_attempts}.", data={"worker": worker})
            left_s = None if task.max_seconds is None else task.max_seconds - task.ran_s
            return Claim(task.id, task.kind, token, task.attempt, task.snapshot, left_s)
        repository.put_off(db, lane, owner)
    return None


def wish(db: Session, claim: Claim) -> Wish | None:
    """The wish that somebody has for the task, to cancel or to pause it; None where there is none.

    Raises:
        LeaseLost: the claim no longer holds.
    """
    return _wish(claim, repository.standing(db, claim.id, claim.token))


def heartbeat(db: Session, claim: Claim, lease_s: float) -> Wish | None:
    """The wish for the task, see `wish`; prolongs the lease in the same statement.

    Raises:
        LeaseLost: the claim no longer holds.
    """
    return _wish(claim, repository.renew(db, claim.id, claim.token, lease_s))


def hold(db: Session, claim: Claim) -> Task:
    """The claimed task, locked until the transaction ends; call it before any other write for the task.

    Raises:
        LeaseLost: the claim no longer holds.
    """
    task = repository.lock_held(db, claim.id, claim.token)
    if task is None:
        raise LeaseLost(claim.id)
    return task


def report(
    db: Session,
    claim: Claim,
    *,
    progress: tuple[int, int, float | None] | None = None,
    notes: Sequence[Mapping[str, Any]] = (),
    points: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Record what the step says: `progress` is (step, total steps, seconds left).

    Raises:
        LeaseLost: the claim no longer holds.
    """
    task = hold(db, claim)
    if progress is not None:
        task.step, task.total_steps, task.eta_s = progress
    tell(db, task, notes)
    repository.put_metrics(db, claim.id, points)


def tell(db: Session, task: Task, notes: Sequence[Mapping[str, Any]]) -> None:
    """Note what the task says of its work, {level, type, message, data} each; its object keeps the warnings among them.

    `task` is locked by this transaction, or made in it.
    """
    repository.add_events(db, task.id, notes)
    warned = [{"code": note["type"], "message": note["message"]} for note in notes if note["level"] == "warning"]
    distinct = [dict(pairs) for pairs in dict.fromkeys(tuple(w.items()) for w in [*task.warnings, *warned])]
    if len(distinct) > len(task.warnings):
        task.warnings = distinct[:MAX_WARNINGS]


def keep(db: Session, claim: Claim, snapshot: str) -> None:
    """The blob that the task's next attempt goes on from.

    Raises:
        LeaseLost: the claim no longer holds.
    """
    hold(db, claim).snapshot = snapshot


def succeed(db: Session, task: Task) -> None:
    """`task` comes from `hold`.  A task that was being cancelled is not to be succeeded: see `stop`."""
    if task.total_steps is not None:
        task.step = task.total_steps
    _end(db, task, Status.SUCCEEDED, "Done.")
    for lane, owner in repository.unblock(db, task.id):
        repository.wake(db, lane, owner)


def fail(db: Session, task: Task, code: str, message: str) -> None:
    """`task` is locked; it is cancelled instead, if that was asked for."""
    if task.status == Status.CANCELLING:
        stop(db, task)
        return
    _fail(db, task, code, message)
    _fail_waiting(db, task)


def stop(db: Session, task: Task) -> None:
    """`task`, which comes from `hold`, has stopped because it was to be cancelled."""
    _end(db, task, Status.CANCELLED, "Cancelled.")
    _fail_waiting(db, task)


def lay_down(db: Session, task: Task) -> None:
    """`task`, which comes from `hold`, has stopped because it was to pause; cancelled, if that was asked for.

    What was interrupted by its user was no attempt.
    """
    _lay_down(db, task, counted=False)


def requeue(db: Session, task: Task, why: str, *, counted: bool, after_s: float = 0.0) -> None:
    """`task`, which comes from `hold`, is to be taken up again, from its snapshot where it has one.

    An attempt that is not `counted` was no fault of the task.  Cancelled or paused instead, if that was asked for.
    """
    if task.status == Status.CANCELLING or task.requested == "pause":
        _lay_down(db, task, counted=counted)
        return
    if not counted:
        task.attempt -= 1
    _requeue(db, task, why, after_s)
    _wake(db, task)


def retry_or_fail(db: Session, task: Task, code: str, message: str, after_s: float = 0.0) -> None:
    """`task`, which comes from `hold`, broke; it is tried again as long as it has attempts left."""
    if task.attempt < task.max_attempts:
        requeue(db, task, message, counted=True, after_s=after_s)
    else:
        fail(db, task, code, f"{message} It was tried {task.attempt} times.")


def expired(db: Session) -> list[str]:
    """Tasks whose lease has run out."""
    return repository.expired(db)


def reap(db: Session) -> list[str]:
    """Take back every task whose lease has run out; gives their ids."""
    taken = []
    for task_id in repository.expired(db):
        task = repository.lock_expired(db, task_id)
        if task is None:
            continue  # another reaper was faster, or its worker was heard of after all
        retry_or_fail(db, task, "worker_lost", "The worker that ran it has died or could not be heard of.")
        taken.append(task_id)
    return taken


def events(db: Session, subject: str, *, after: int | None, order: Order, limit: int) -> list[EventRow]:
    """The events of the task of the object `subject`, by sequence number."""
    return repository.events(db, subject, after=after, order=order, limit=limit)


def warnings(db: Session, subject: str) -> list[Warned]:
    """The warnings of the task of `subject`."""
    task = repository.get(db, subject)
    return [] if task is None else task.warnings


def cascades(db: Session) -> bool:
    """Tell whether there may be something for `cascade` to do."""
    return repository.any_cascading(db)


def cascade(db: Session) -> bool:
    """Fail the next of the tasks that waited for one that did not succeed; whether there was anything to do.

    A transaction each: however many wait, nobody is kept out for long.
    """
    ended = repository.lock_cascading(db)
    if ended is None:
        return False
    ended.cascading = False
    if ended.status in (Status.FAILED, Status.CANCELLED):
        _fail_waiting(db, ended)
    return True


def note(
    db: Session, subject: str, type: str, message: str, *, level: str = "info", data: Mapping[str, Any] | None = None
) -> None:
    """A line in the event log of a task that this transaction has locked or made."""
    line = {"level": level, "type": type, "message": message, "data": dict(data or {})}
    repository.add_events(db, subject, [line])


# --- workers, as they come and go


def tokens(db: Session) -> set[str]:
    """The tokens of all claims that hold."""
    return repository.tokens(db)


def _wish(claim: Claim, standing: tuple[str, str | None] | None) -> Wish | None:
    if standing is None:
        raise LeaseLost(claim.id)
    status, requested = standing
    if status == Status.CANCELLING:
        return "cancel"
    return "pause" if requested == "pause" else None


def _locked(db: Session, task_id: str) -> Task:
    task = repository.lock(db, task_id)
    if task is None:
        raise errors.NotFound(f"There is no {task_id}.")
    return task


def _lay_down(db: Session, task: Task, *, counted: bool) -> None:
    if task.status == Status.CANCELLING:
        stop(db, task)
        return
    if not counted:
        task.attempt -= 1
    _release(task)
    _move(db, task, Status.PAUSED, f"Paused at step {task.step}.")


def _requeue(db: Session, task: Task, why: str, after_s: float = 0.0) -> None:
    _release(task)
    task.available_at = now() + after_s
    _move(db, task, Status.QUEUED, why)


def _end(
    db: Session, task: Task, status: Status, message: str, level: str = "info", data: Mapping[str, Any] | None = None
) -> None:
    _release(task)
    task.snapshot = None
    task.finished_at = now()
    _move(db, task, status, message, level, data)


def _fail(db: Session, task: Task, code: str, message: str) -> None:
    message = plain.text(message)
    task.error_code, task.error_message = code, message
    _end(db, task, Status.FAILED, message, level="error", data={"code": code})


def _release(task: Task) -> None:
    if task.status in repository.HELD:
        task.ran_s = repository.ran()  # by the database's clock
    task.lease_token = task.lease_expires_at = task.worker = task.requested = task.eta_s = None


def _move(
    db: Session,
    task: Task,
    status: Status,
    message: str,
    level: str = "info",
    data: Mapping[str, Any] | None = None,
) -> None:
    if not may_move(Status(task.status), status):
        raise _refusal(task, status)
    task.status = status
    db.flush()
    _tell(db, task.id, status, message, level, data)


def _tell(
    db: Session, task_id: str, status: Status, message: str, level: str = "info", data: Mapping[str, Any] | None = None
) -> None:
    note(db, task_id, status, message, level=level, data={"status": status.value, **(data or {})})


def _refusal(task: Task, wanted: Status) -> errors.WrongStatus:
    return errors.WrongStatus(f"{task.id} is {task.status}: it cannot become {wanted}.")


def _line_up(db: Session, task: Task) -> None:
    """Let a queued task start once what it needs has succeeded; it has failed already where some of that will not.

    The needs stay locked until this transaction ends: one that is about to end waits, and then finds `task`.
    """
    needs = repository.lock_needs(db, task.id)
    hopeless = [need for need in needs if need.status in (Status.FAILED, Status.CANCELLED)]
    if hopeless:
        _fail_for(db, task, hopeless[0])
        _fail_waiting(db, task)
        return
    task.blocked = any(need.status != Status.SUCCEEDED for need in needs)
    _wake(db, task)


def _wake(db: Session, task: Task) -> None:
    db.flush()
    if not task.blocked:
        repository.wake(db, task.lane, task.owner)


def _fail_waiting(db: Session, ended: Task) -> None:
    """Fail what waits for a task that did not succeed, since it will never start: so many now, see `cascade` for the
    rest."""
    left, tasks = FAILED_AT_ONCE, deque([ended])
    while tasks and left:
        ended = tasks.popleft()
        waiting = repository.lock_waiting(db, ended.id, left + 1)
        ended.cascading = len(waiting) > left
        for task in waiting[:left]:
            _fail_for(db, task, ended)
        tasks += waiting[:left]
        left -= len(waiting[:left])
    for ended in tasks:  # whether anything waits for these has yet to be looked at
        ended.cascading = True
    db.flush()


def _fail_for(db: Session, task: Task, ended: Task) -> None:
    reason = f": {ended.error_message}" if ended.error_message else "."
    _fail(db, task, "dependency_failed", f"{ended.id}, which it needs, has {ended.status}{reason}")
