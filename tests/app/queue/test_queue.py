"""The queue's rules, on both databases: order, leases, fences, wishes, ends."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from sqlalchemy import event, select, text

from app.core import errors, ids
from app.core.status import Status
from app.db.session import now
from app.db.tables import EventRow, Metric, Task, WorkerProcess
from app.queue import repository, workers
from app.queue import service as queue
from app.queue.service import LeaseLost
from tests.app.queue.queue_steps import add, ask, claim, events, expire, finish, held, reap, task
from tests.services import until


def test_steps_start_in_the_order_of_their_arrival(database):
    ids = [add(database) for _ in range(3)]
    assert [claim(database).id for _ in range(3)] == ids
    assert claim(database) is None


def test_a_claim_says_who_has_it_and_counts_the_attempt(database):
    job = add(database)
    claimed = claim(database, "worker_x")
    assert (claimed.id, claimed.attempt, claimed.snapshot) == (job, 1, None)
    found = task(database, job)
    assert (found.status, found.worker, found.lease_token) == (Status.RUNNING, "worker_x", claimed.token)
    assert found.lease_expires_at - found.started_at == pytest.approx(60, abs=1)
    assert events(database, job) == ["queued", "started"]


def test_lanes_are_apart(database):
    ingest = add(database, lane="ingest")
    assert claim(database) is None
    assert claim(database, lane="ingest").id == ingest


def test_owners_take_turns(database):
    """Promise 14: who queues a thousand does not make another wait for them."""
    many = [add(database, owner="ann") for _ in range(20)]
    one = add(database, owner="bob")
    started = [claim(database).id for _ in range(4)]
    assert one in started[:2]
    assert [job for job in started if job != one] == many[:3]


def test_owners_take_turns_among_many_claimers(database):
    """Promises 3 and 14: eight at once, one claim a step, and who comes last does not wait for a thousand."""
    many = [add(database, owner="ann") for _ in range(60)]
    others = [add(database, owner=f"owner-{number}") for number in range(5)]
    started = []

    def work(worker):
        while found := claim(database, worker):
            started.append(found.id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [f"worker_{number}" for number in range(8)]))
        bob = add(database, owner="bob")
        more = [add(database, owner="ann") for _ in range(20)]
        list(pool.map(work, [f"worker_{number}" for number in range(8)]))
    assert sorted(started) == sorted([*many, *others, bob, *more])
    assert set(others) <= set(started[: 5 + 8 + 1])
    assert bob in started[65 : 65 + 8 + 1]


def test_a_claim_looks_at_one_owner_however_many_wait(database):
    """It takes as many statements with 300 owners as with one, and these read no more."""
    add(database, owner="owner-0")
    few, read_for_few = cost_of_a_claim(database)
    for number in range(300):
        add(database, owner=f"owner-{number}")
    many, read_for_many = cost_of_a_claim(database)
    assert many == few <= 6
    assert read_for_many < 2 * read_for_few


def cost_of_a_claim(database):
    """(statements, what they read): on SQLite steps of its machine, on PostgreSQL the rows that it sent."""
    seen, read = [], 0

    def begin(connection, cursor, statement, *_):
        seen.append(statement)
        if database.engine.dialect.name == "sqlite":
            cursor.connection.set_progress_handler(step, 1)

    def step():
        nonlocal read
        read += 1

    def end(connection, cursor, *_):
        nonlocal read
        read += max(0, cursor.rowcount)

    listeners = {"before_cursor_execute": begin, "after_cursor_execute": end}
    for name, listener in listeners.items():
        event.listen(database.engine, name, listener)
    try:
        assert claim(database)
    finally:
        for name, listener in listeners.items():
            event.remove(database.engine, name, listener)
    return len([statement for statement in seen if not statement.startswith(("BEGIN", "SET"))]), read


def test_owners_that_have_nothing_to_start_are_not_asked_again(database):
    """What waits for others, or for later, or is paused; and each is found when its time has come."""
    dataset = add(database, owner="ann", lane="ingest")
    blocked = add(database, owner="ann", needs=(dataset,))
    paused, later = add(database, owner="bob"), add(database, owner="cy")
    with held(database, claim(database)) as (db, found):
        assert found.owner == "bob"
        queue.lay_down(db, found)
    with held(database, claim(database)) as (db, found):
        assert found.id == later
        queue.retry_or_fail(db, found, "gave_up", "No network.", after_s=3600)
    assert claim(database) is None
    with database.reading() as db:
        assert not queue.waits(db, "run")
    ask(database, "resume", paused)
    with database.unit_of_work() as db:
        db.execute(text("UPDATE tasks SET available_at = 1 WHERE id = :id"), {"id": later})
        db.execute(text("UPDATE turns SET ready_at = 1 WHERE owner = 'cy'"))  # the time that was written down has come
    finish(database, claim(database, lane="ingest"))
    assert {claim(database).id for _ in range(3)} == {blocked, paused, later}


def test_what_is_queued_by_an_older_version_is_found_by_the_next_worker(database):
    job = add(database)
    with database.unit_of_work() as db:
        db.execute(text("UPDATE turns SET ready_at = NULL"))
    assert claim(database) is None
    with database.unit_of_work() as db:
        row = WorkerProcess(id="worker_x", host="x", pid=1, device="cpu", started_at=now(), seen_at=now(), warm=False)
        workers.arrive(db, row)
    assert claim(database).id == job


def test_of_two_needs_that_end_at_once_the_later_one_lets_it_start(each_database, database):
    """Neither transaction sees the other's writes until it has committed."""
    needs = tuple(add(database, lane="ingest") for _ in range(2))
    job = add(database, needs=needs)
    first, second = claim(database, lane="ingest"), claim(database, lane="ingest")
    with ThreadPoolExecutor(1) as aside:
        with held(database, first) as (db, found):
            queue.succeed(db, found)
            other = aside.submit(finish, database, second)
            if each_database.kind == "postgres":
                until(lambda: waits_for_a_lock(database))
        other.result()
    assert claim(database).id == job


def waits_for_a_lock(database):
    with database.reading() as db:
        return db.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def test_however_many_wait_for_a_failure_they_fail_in_small_transactions(database, monkeypatch):
    monkeypatch.setattr(queue, "FAILED_AT_ONCE", 4)
    dataset = add(database, lane="ingest")
    jobs = [add(database, needs=(dataset,)) for _ in range(10)]
    after = [add(database, needs=(jobs[0],)) for _ in range(3)]
    ask(database, "pause", jobs[1])

    def failed():
        return [job for job in (*jobs, *after) if task(database, job).status == Status.FAILED]

    with held(database, claim(database, lane="ingest")) as (db, found):
        queue.fail(db, found, "not_an_archive", "It is no archive.")
    counts = [len(failed())]
    assert claim(database) is None  # those that have yet to fail do not start
    while cascade(database):
        counts.append(len(failed()))
    assert len(failed()) == 13
    assert max(later - earlier for earlier, later in pairwise([0, *counts])) == 4
    assert {task(database, job).error_code for job in (*jobs, *after)} == {"dependency_failed"}
    assert all(events(database, job).count("failed") == 1 for job in jobs)


def test_what_is_retried_before_those_that_wait_have_failed_keeps_them(database, monkeypatch):
    monkeypatch.setattr(queue, "FAILED_AT_ONCE", 1)
    dataset = add(database, lane="ingest")
    jobs = [add(database, needs=(dataset,)) for _ in range(3)]
    ask(database, "cancel", dataset)
    ask(database, "retry", dataset)
    while cascade(database):
        pass
    finish(database, claim(database, lane="ingest"))
    statuses = [task(database, job).status for job in jobs]
    assert sorted(statuses) == [Status.FAILED, Status.QUEUED, Status.QUEUED]
    assert claim(database)
    assert claim(database)


def cascade(database):
    with database.unit_of_work() as db:
        return queue.cascade(db)


def test_a_step_waits_for_what_it_needs(database):
    dataset = add(database, lane="ingest")
    job, free = add(database, needs=(dataset, "file_1")), add(database)
    assert claim(database).id == free
    finish(database, claim(database, lane="ingest"))
    assert claim(database).id == job


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_what_waits_for_a_failure_fails_with_its_reason(database, end):
    dataset = add(database, lane="ingest")
    job = add(database, needs=(dataset,))
    second = add(database, needs=(job,))
    if end == "fail":
        with held(database, claim(database, lane="ingest")) as (db, found):
            queue.fail(db, found, "not_an_archive", "It is no archive.")
    else:
        ask(database, "cancel", dataset)
    for waiting in (job, second):
        found = task(database, waiting)
        assert (found.status, found.error_code) == (Status.FAILED, "dependency_failed")
        assert dataset in found.error_message or job in found.error_message


@pytest.mark.parametrize("first", ["the failure", "the step"])
def test_a_step_that_is_queued_while_its_need_fails_fails_too(database, first):
    """Neither transaction sees the other's writes: without locks the step would wait for ever."""
    dataset = add(database, lane="ingest")
    claimed = claim(database, lane="ingest")

    def break_it():
        with held(database, claimed) as (db, found):
            queue.fail(db, found, "not_an_archive", "It is no archive.")

    with ThreadPoolExecutor(1) as aside:
        if first == "the failure":
            with held(database, claimed) as (db, found):
                queue.fail(db, found, "not_an_archive", "It is no archive.")
                queued = aside.submit(add, database, needs=(dataset,))
                time.sleep(0.3)
            job = queued.result()
        else:
            with database.unit_of_work() as db:
                job = queue.enqueue(db, id=ids.new("job"), kind="run", lane="run", owner="ann", needs=(dataset,)).id
                broken = aside.submit(break_it)
                time.sleep(0.3)
            broken.result()
    found = task(database, job)
    assert (found.status, found.error_code) == (Status.FAILED, "dependency_failed")
    assert dataset in found.error_message
    assert ask(database, "retry", job) == Status.FAILED


def test_position_counts_those_before_it_in_its_lane(database):
    jobs = [add(database) for _ in range(3)]
    add(database, lane="ingest")
    claim(database)

    def position(job):
        with database.reading() as db:
            return db.scalar(select(repository.position()).select_from(Task).where(Task.id == job))

    assert [position(job) for job in jobs] == [None, 0, 1]


def test_position_is_not_counted_for_ever(database, monkeypatch):
    monkeypatch.setattr(repository, "POSITION_LIMIT", 3)
    jobs = [add(database) for _ in range(6)]
    with database.reading() as db:
        query = select(repository.position()).select_from(Task).order_by(Task.seq)
        assert list(db.scalars(query)) == [0, 1, 2, 3, 3, 3]
    assert len(jobs) == 6


def test_a_beat_prolongs_the_lease(database):
    job = add(database)
    claimed = claim(database)
    expire(database, job)
    with database.unit_of_work() as db:
        assert queue.heartbeat(db, claimed, 60) is None
    assert reap(database) == []


def test_a_lost_lease_is_taken_back_and_its_token_opens_nothing(database):
    """Promise 2."""
    job = add(database)
    zombie = claim(database)
    expire(database, job)
    assert reap(database) == [job]
    heir = claim(database, "worker_b")
    assert (heir.id, heir.attempt) == (job, 2)
    for write in (
        lambda db: queue.heartbeat(db, zombie, 60),
        lambda db: queue.wish(db, zombie),
        lambda db: queue.hold(db, zombie),
        lambda db: queue.report(db, zombie, progress=(1, 2, None)),
        lambda db: queue.keep(db, zombie, "0" * 64),
    ):
        with pytest.raises(LeaseLost), database.unit_of_work() as db:
            write(db)
    finish(database, heir)
    assert task(database, job).status == Status.SUCCEEDED


def test_a_zombie_of_a_deleted_job_finds_nothing(database):
    job = add(database)
    zombie = claim(database)
    with database.unit_of_work() as db:
        queue.forget(db, job)
    with pytest.raises(LeaseLost), database.unit_of_work() as db:
        queue.hold(db, zombie)


def test_after_three_lost_attempts_it_has_failed(database):
    """Promise 11."""
    job = add(database)
    for attempt in range(1, 4):
        assert claim(database).attempt == attempt
        expire(database, job)
        reap(database)
    found = task(database, job)
    assert (found.status, found.error_code) == (Status.FAILED, "worker_lost")
    assert "3 times" in found.error_message
    assert claim(database) is None


def test_a_crash_counts_and_a_shutdown_does_not(database):
    job = add(database)
    with held(database, claim(database)) as (db, found):
        queue.requeue(db, found, "Its worker was shut down.", counted=False)
    assert (task(database, job).attempt, task(database, job).status) == (0, Status.QUEUED)
    with held(database, claim(database)) as (db, found):
        queue.retry_or_fail(db, found, "crashed", "Killed.")
    assert (task(database, job).attempt, task(database, job).status) == (1, Status.QUEUED)


@pytest.mark.parametrize("kind", ["pause", "shutdown", "shutdown while a pause is wished"])
def test_after_any_number_of_interruptions_lost_workers_have_all_attempts(database, kind):
    job = add(database)
    for _ in range(5):
        claimed = claim(database)
        if "pause" in kind:
            ask(database, "pause", job)
        with held(database, claimed) as (db, found):
            if kind == "pause":
                queue.lay_down(db, found)
            else:
                queue.requeue(db, found, "Its worker was shut down.", counted=False)
        assert task(database, job).attempt == 0
        if "pause" in kind:
            ask(database, "resume", job)
    for attempt in (1, 2, 3):
        assert claim(database).attempt == attempt
        assert task(database, job).status == Status.RUNNING
        expire(database, job)
        reap(database)
    assert "It was tried 3 times." in task(database, job).error_message


def test_a_worker_that_is_lost_while_a_pause_is_wished_counts(database):
    job = add(database)
    claim(database)
    ask(database, "pause", job)
    expire(database, job)
    reap(database)
    assert (task(database, job).status, task(database, job).attempt) == (Status.PAUSED, 1)


def test_a_step_given_back_for_later_is_not_started_before(database):
    add(database)
    with held(database, claim(database)) as (db, found):
        queue.retry_or_fail(db, found, "gave_up", "No network.", after_s=3600)
    assert claim(database) is None


def test_the_next_attempt_gets_the_snapshot(database):
    job = add(database)
    claimed = claim(database)
    with database.unit_of_work() as db:
        queue.keep(db, claimed, "a" * 64)
    expire(database, job)
    reap(database)
    heir = claim(database)
    assert heir.snapshot == "a" * 64
    finish(database, heir)
    assert task(database, job).snapshot is None  # what nobody will go on from is swept


# --- cancel, pause, resume, retry


def test_a_waiting_step_is_cancelled_at_once(database):
    job = add(database)
    assert ask(database, "cancel", job) == Status.CANCELLED
    assert claim(database) is None


def test_cancel_wins_over_every_end(database):
    """Promise 10."""
    for end in (
        lambda db, found: queue.fail(db, found, "diverged", "NaN"),
        lambda db, found: queue.requeue(db, found, "shutdown", counted=False),
        lambda db, found: queue.retry_or_fail(db, found, "crashed", "Killed."),
        lambda db, found: queue.lay_down(db, found),
        lambda db, found: queue.stop(db, found),
    ):
        job = add(database)
        claimed = claim(database)
        assert ask(database, "cancel", job) == Status.CANCELLING
        assert ask(database, "cancel", job) == Status.CANCELLING  # asked twice is asked once
        with database.unit_of_work() as db:
            assert queue.wish(db, claimed) == "cancel"
        with held(database, claimed) as (db, found):
            end(db, found)
        found = task(database, job)
        assert (found.status, found.error_code) == (Status.CANCELLED, None)


def test_a_cancelled_step_cannot_succeed(database):
    add(database)
    claimed = claim(database)
    ask(database, "cancel", claimed.id)
    with pytest.raises(errors.WrongStatus), held(database, claimed) as (db, found):
        queue.succeed(db, found)


def test_a_step_that_is_cancelled_while_its_worker_is_dead_ends(database):
    job = add(database)
    claim(database)
    ask(database, "cancel", job)
    expire(database, job)
    reap(database)
    assert task(database, job).status == Status.CANCELLED


def test_pause_and_resume(database):
    job = add(database)
    claimed = claim(database)
    assert ask(database, "pause", job) == Status.RUNNING
    with database.unit_of_work() as db:
        assert queue.heartbeat(db, claimed, 60) == "pause"
    with held(database, claimed) as (db, found):
        queue.lay_down(db, found)
    assert task(database, job).status == Status.PAUSED
    assert claim(database) is None
    assert ask(database, "resume", job) == Status.QUEUED
    assert claim(database).id == job


def test_a_shutdown_while_a_pause_is_wished_pauses(database):
    job = add(database)
    claimed = claim(database)
    ask(database, "pause", job)
    with held(database, claimed) as (db, found):
        queue.requeue(db, found, "shutdown", counted=False)
    assert task(database, job).status == Status.PAUSED


def test_a_waiting_step_pauses_at_once(database):
    job = add(database)
    assert ask(database, "pause", job) == Status.PAUSED
    assert ask(database, "cancel", job) == Status.CANCELLED


def test_retry_starts_afresh(database):
    job, other = add(database), None
    claimed = claim(database)
    point = {"name": "loss", "split": "train", "step": 1, "epoch": 0.1, "value": 1.0}
    with database.unit_of_work() as db:
        queue.report(db, claimed, progress=(5, 10, 1.0), points=[point])
        queue.keep(db, claimed, "a" * 64)
    with held(database, claimed) as (db, found):
        queue.fail(db, found, "diverged", "NaN")
    other = add(database)
    assert ask(database, "retry", job) == Status.QUEUED
    found = task(database, job)
    assert (found.attempt, found.step, found.total_steps, found.snapshot, found.error_code) == (0, 0, None, None, None)
    with database.reading() as db:
        assert not list(db.scalars(select(Metric).where(Metric.job == job)))
    assert [claim(database).id, claim(database).id] == [other, job]


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_what_has_ended_stays_ended(database, verb):
    job = add(database)
    finish(database, claim(database))
    with pytest.raises(errors.WrongStatus):
        ask(database, verb, job)
    assert task(database, job).status == Status.SUCCEEDED


@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_what_waits_is_neither_resumed_nor_retried(database, verb):
    job = add(database)
    with pytest.raises(errors.WrongStatus):
        ask(database, verb, job)


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_nothing_can_be_asked_of_nothing(database, verb):
    with pytest.raises(errors.NotFound), database.unit_of_work() as db:
        getattr(queue, verb)(db, "job_0000")


# --- what a step says


def test_metrics_are_written_again_by_a_rerun(database):
    job = add(database)
    claimed = claim(database)
    for value in (1.0, 2.0):
        points = [{"name": "loss", "split": "train", "step": s, "epoch": s / 10, "value": value} for s in range(1200)]
        with database.unit_of_work() as db:
            queue.report(db, claimed, points=[*points, points[-1]])
    with database.reading() as db:
        found = list(db.scalars(select(Metric).where(Metric.job == job).order_by(Metric.step)))
    assert [point.step for point in found] == list(range(1200))
    assert {point.value for point in found} == {2.0}


def test_events_of_a_step_are_numbered_in_order(database):
    job = add(database)
    claimed = claim(database)
    notes = [{"level": "info", "type": "note", "message": str(i), "data": {"i": i}} for i in range(5)]
    with database.unit_of_work() as db:
        queue.report(db, claimed, progress=(3, 10, 2.5), notes=notes)
    finish(database, claimed)
    with database.reading() as db:
        found = list(db.scalars(select(EventRow).where(EventRow.subject == job).order_by(EventRow.seq)))
    assert [event.message for event in found if event.type == "note"] == ["0", "1", "2", "3", "4"]
    assert found[-1].type == "succeeded"
    assert found[-1].data == {"status": "succeeded"}
    assert task(database, job).step == 10
