"""What a worker does beside its steps goes on, whatever it meets; where it does not, the worker ends."""

import os
import threading
from threading import Event as Flag

import pytest

from app.blobs.store import Blobs
from app.contract.results import Renewed
from app.core import ids
from app.core.settings import Settings
from app.db.session import now
from app.db.tables import WorkerProcess
from app.queue import service as queue
from app.queue import workers
from app.queue.service import LeaseLost
from tests.services import until
from tests.worker.supervisor import attempts
from worker import main
from worker.executors.base import Crashed
from worker.executors.local import LocalExecutor
from worker.runtime.contract import Result
from worker.supervisor import upkeep
from worker.supervisor.attempt import Workplace
from worker.supervisor.lease import Lease


@pytest.fixture
def place(database, database_url, tmp_path):
    settings = Settings(home=tmp_path, database_url=database_url, beat_s=0.05, lease_s=60, poll_s=0.05)
    place = Workplace(ids.new("worker"), database, Blobs(settings.blobs), LocalExecutor(), settings, Flag())
    yield place
    place.stopping.set()


def claim(database, lease_s):
    with database.unit_of_work() as db:
        task = queue.enqueue(db, id=ids.new("job"), kind="run", lane="run", owner="ann", needs=())
        assert queue.claim(db, "run", worker="worker_x", lease_s=lease_s).id == task.id
        return task.id


def unswept(blobs):
    """A sweep of this store meets an OSError each time: what lies there can be neither listed nor removed."""
    unfinished = blobs._root / "tmp" / "not a file"
    unfinished.mkdir(parents=True)
    os.utime(unfinished, (1, 1))


def test_an_error_in_one_chore_ends_none(place, monkeypatch, caplog):
    """The disk fails the sweep and the clearing of scratch; heartbeat and reaper go on."""
    monkeypatch.setattr(upkeep, "SWEEP_EVERY_S", 0.05)
    unswept(place.blobs)
    place.settings.scratch.write_text("a file where a folder should be")
    with place.database.unit_of_work() as db:
        row = WorkerProcess(id=place.worker, host="h", pid=1, device="cpu", started_at=now(), seen_at=1.0, warm=False)
        workers.arrive(db, row)
    threads = [threading.Thread(target=work, args=(place,)) for work in (upkeep.keep_up, upkeep.tidy)]
    for thread in threads:
        thread.start()
    until(lambda: {"clear scratch", "sweep"} <= {record.message for record in caplog.records})
    lost = claim(place.database, lease_s=-1)
    until(lambda: lost in caplog.text)  # taken back
    assert all(thread.is_alive() for thread in threads)
    with place.database.unit_of_work() as db:
        seen_at = db.get(WorkerProcess, place.worker).seen_at
    until(lambda: seen(place) > max(seen_at, 1.0))
    place.stopping.set()
    for thread in threads:
        thread.join(60)


def seen(place):
    with place.database.reading() as db:
        return db.get(WorkerProcess, place.worker).seen_at


@pytest.mark.parametrize("part", ["keep_up", "tidy"])
def test_a_worker_without_its_upkeep_ends(place, monkeypatch, part):
    """It would look dead to the others, and they to it."""
    monkeypatch.setattr(upkeep, "arrive", lambda place: None)
    monkeypatch.setattr(upkeep, part, lambda place: None)
    with pytest.raises(main.Broken, match="ended by itself"):
        main.work(place)
    assert not {"ingest", "run", "tidy"} & {thread.name for thread in threading.enumerate()}


def test_a_lease_whose_beats_fail_for_any_reason_is_lost_in_time(place, monkeypatch):
    with place.database.unit_of_work() as db:
        queue.enqueue(db, id=ids.new("job"), kind="run", lane="run", owner="ann", needs=())
        held = queue.claim(db, "run", worker="worker_x", lease_s=60)
    failing = Flag()

    def renewed(db, claim, lease_s):
        failing.set()
        raise OSError("Too many open files")

    monkeypatch.setattr(queue, "heartbeat", renewed)
    with Lease(place.database, held, lease_s=0.3, beat_s=0.05) as lease:
        assert failing.wait(60)
        until(lambda: lease.lost)
        with pytest.raises(LeaseLost):
            lease.check()


def renewed(*complete):
    return [Result(Renewed(complete=one)) for one in complete]


def test_signatures_are_renewed_while_no_task_is_under_way(database, tmp_path):
    place = attempts.workplace(database, tmp_path, *renewed(False, False, True))
    chore, executor = upkeep.SignatureRenewal(), place.executor
    executor.idle = False
    chore(place)
    assert executor.specs == []
    executor.idle = True
    for _ in range(5):
        chore(place)
    assert [spec.kind for spec in executor.specs] == ["signatures"] * 3  # no more once all is there
    assert {spec.signatures for spec in executor.specs} == {place.settings.signatures}


def test_a_piece_that_fails_is_left_for_later(database, tmp_path, monkeypatch):
    place = attempts.workplace(database, tmp_path, Crashed("It died."), *renewed(True))
    chore = upkeep.SignatureRenewal()
    with pytest.raises(Crashed):
        chore(place)
    chore(place)
    assert len(place.executor.specs) == 1
    monkeypatch.setattr(upkeep, "RENEWAL_S", 0.0)  # nothing is in time
    chore = upkeep.SignatureRenewal()
    chore(place)
    chore(place)
    assert len(place.executor.specs) == 2


def test_a_real_child_finds_that_nothing_is_to_be_renewed(place):
    """The shipped signatures are those of the installed libraries."""
    upkeep.SignatureRenewal()(place)
    assert place.executor.idle
    assert not place.settings.signatures.exists()
