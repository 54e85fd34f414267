"""The policy of the queue, on both databases: ranks, running time over all attempts, room, and foreseen starts."""

import pytest
from sqlalchemy import select, text

from app.core import errors
from app.db.session import now
from app.db.tables import Task, WorkerProcess
from app.queue import policy, repository, workers
from app.queue import service as queue
from tests.app.queue.queue_steps import add, ask, claim, finish, held, reap, task


def ranked(database, rank, owner="ann"):
    job = add(database, owner=owner)
    change(database, job, rank=rank)
    return job


def change(database, job, **values):
    with database.unit_of_work() as db:
        found = db.get_one(Task, job)
        for name, value in values.items():
            setattr(found, name, value)


def began(database, job, seconds_ago):
    with database.unit_of_work() as db:
        past = text("UPDATE tasks SET started_at = started_at - :s WHERE id = :id")
        db.execute(past, {"s": seconds_ago, "id": job})


def position(database, job):
    with database.reading() as db:
        return db.scalar(select(repository.position()).select_from(Task).where(Task.id == job))


def test_of_an_owners_tasks_the_least_rank_starts_first(database):
    low, normal, later, high = (ranked(database, rank) for rank in (1, 0, 0, -1))
    assert [claim(database).id for _ in range(4)] == [high, normal, later, low]


def test_owners_take_turns_whatever_their_ranks(database):
    first, second = ranked(database, -1, "ann"), ranked(database, -1, "ann")
    other = ranked(database, 1, "bob")
    assert [claim(database).id for _ in range(3)] == [first, other, second]


def test_positions_go_by_rank_among_an_owners_own(database):
    low, normal, high = (ranked(database, rank) for rank in (1, 0, -1))
    other = ranked(database, -1, "bob")
    assert [position(database, job) for job in (low, normal, high, other)] == [2, 1, 0, 3]


def test_running_time_adds_up_over_attempts_and_pauses_do_not_count(database):
    job = add(database)
    change(database, job, max_seconds=100.0)
    claimed = claim(database)
    assert claimed.left_s == 100
    began(database, job, 30)
    ask(database, "pause", job)
    with held(database, claimed) as (db, found):
        queue.lay_down(db, found)
    assert task(database, job).ran_s == pytest.approx(30, abs=5)
    ask(database, "resume", job)
    claimed = claim(database)
    assert claimed.left_s == pytest.approx(70, abs=5)
    began(database, job, 50)
    with held(database, claimed) as (db, found):
        queue.requeue(db, found, "Its worker was shut down.", counted=False)
    assert claim(database).left_s == pytest.approx(20, abs=5)


def test_a_lost_worker_counts_until_its_lease_ran_out(database):
    job = add(database)
    change(database, job, max_seconds=100.0)
    claim(database, lease_s=40)
    began(database, job, 1000)
    with database.unit_of_work() as db:
        lapsed = text("UPDATE tasks SET lease_expires_at = started_at + 40 WHERE id = :id")
        db.execute(lapsed, {"id": job})
    assert reap(database) == [job]
    assert task(database, job).ran_s == pytest.approx(40, abs=1)


def test_a_retry_begins_anew(database):
    job = add(database)
    change(database, job, max_seconds=100.0)
    claimed = claim(database)
    began(database, job, 120)
    with held(database, claimed) as (db, found):
        queue.fail(db, found, "too_long", "It has run for too long.")
    assert task(database, job).ran_s > 100
    ask(database, "retry", job)
    assert claim(database).left_s == 100


def test_what_was_never_claimed_has_not_run(database):
    job = add(database)
    ask(database, "cancel", job)
    assert task(database, job).ran_s == 0


def test_an_owner_has_room_for_so_many(database):
    jobs = [add(database) for _ in range(2)]
    add(database, owner="bob")
    with database.unit_of_work() as db:
        policy.require_room(db, "ann", 2)
        policy.require_room(db, "ann", 0)
        with pytest.raises(errors.TooManyTasks, match="may have 1"):
            policy.require_room(db, "ann", 1)
    finish(database, claim(database))
    with database.unit_of_work() as db:
        policy.require_room(db, "ann", 1)
    assert len(jobs) == 2


def starts_in(database, position):
    with database.reading() as db:
        return policy.starts_in(db, "run")(position)


def test_a_start_is_reckoned_by_what_ran_before(database, monkeypatch):
    monkeypatch.setattr(policy, "GOOD_FOR_S", -1)  # each question is measured anew
    assert starts_in(database, 0) is None  # nobody works
    with database.unit_of_work() as db:
        row = {"host": "here", "pid": 1, "device": "cpu", "started_at": now(), "seen_at": now(), "warm": True}
        workers.arrive(db, WorkerProcess(id="worker_1", **row))
    assert starts_in(database, 0) == 0  # it is free
    assert starts_in(database, 1) is None  # how long the first will take, nobody knows
    for seconds in (10, 20, 60):
        job = add(database)
        claimed = claim(database)
        began(database, job, seconds)
        finish(database, claimed)
    assert starts_in(database, 2) == pytest.approx(40, abs=5)
    running = add(database)
    claim(database)
    change(database, running, eta_s=7.0)
    assert starts_in(database, 0) == 7
    assert starts_in(database, 1) == pytest.approx(27, abs=5)
