"""Promises about workers that die, sleep, or are told to go: each with the real fault, on both databases.

What is about processes and snapshots alone is on Postgres by `make faults` and `make conformance` only.
"""

import os
import random
import signal
import time
from contextlib import suppress
from functools import partial

import psutil
import pysqlite3
import pytest

from regraft import Unsuccessful
from tests import digits, services
from tests.services import until

FULL = os.environ.get("REGRAFT_FAULTS") == "full"
JOB = {"name": "train", "network": digits.TINY, "epochs": 300, "batch_size": 32}


@pytest.fixture(scope="module")
def killable(each_database, tmp_path_factory):
    with services.running(tmp_path_factory.mktemp("home"), each_database.migrated()) as running:
        yield running


@pytest.fixture
def own_service(killable):
    """Shared with no other module, and as a new one is."""
    yield killable
    killable.settle()


@pytest.fixture(scope="module")
def dataset(killable, tmp_path_factory):
    client = killable.client
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 40))
    return client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=60)


def weights(client, job):
    return client.models.get(client.jobs.get(job).model).sha256


def submit(client, dataset, **changes):
    return client.jobs.create(method=JOB | changes, dataset=dataset.id, seed=7).id


def under_way(client, job, steps=5):
    until(lambda: client.jobs.get(job).progress.step > steps)


def alive(process):
    """A zombie that nobody has fetched yet is none."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_a_worker_that_is_killed_loses_nothing(own_service, dataset):
    """Promises 1 and 6: the job ends by itself, once, under its id, with the weights of an undisturbed run."""
    client = own_service.client
    before = len(list(client.models.list()))
    undisturbed = submit(client, dataset)
    client.jobs.wait(undisturbed, timeout_s=120)
    for _ in range(20 if FULL else 2):
        job = submit(client, dataset)
        under_way(client, job, random.randrange(5, 200))
        own_service.kill_worker()
        killed_at = time.monotonic()
        own_service.start_worker()
        done = client.jobs.wait(job, timeout_s=120)
        assert done.attempt == 2
        assert time.monotonic() - killed_at < 100
        assert weights(client, job) == weights(client, undisturbed)
    assert len(list(client.models.list())) == before + (21 if FULL else 3)


@pytest.mark.any_database
@pytest.mark.parametrize(
    "method",
    [
        {"name": "dann", "epochs": 60, "batch_size": 32, "augmentation": "none"},  # a discriminator
        {"name": "shot", "epochs": 60, "batch_size": 32, "augmentation": "none"},  # pseudo-labels
    ],
    ids=lambda method: method["name"],
)
def test_nor_does_what_learns_beside_the_network(own_service, dataset, tmp_path, method):
    client = own_service.client
    file = client.files.upload(digits.optdigits_folders(tmp_path / "more.zip", 45))
    other = client.datasets.wait(client.datasets.create(name="other", file=file.id).id, timeout_s=60)
    source = client.jobs.wait(submit(client, dataset, epochs=3), timeout_s=60).model
    source_dataset = dataset.id if method["name"] == "dann" else None

    def ask():
        made = client.jobs.create(
            method=method, checkpoint=source, dataset=other.id, source_dataset=source_dataset, seed=7
        )
        return made.id

    undisturbed = ask()
    whole = client.jobs.wait(undisturbed, timeout_s=120)
    job = ask()
    under_way(client, job, whole.progress.total_steps // 3)
    own_service.kill_worker()
    own_service.start_worker()
    done = client.jobs.wait(job, timeout_s=120)
    assert done.attempt == 2
    assert weights(client, job) == weights(client, undisturbed)


@pytest.mark.any_database
def test_no_orphan_outlives_its_worker(own_service, dataset):
    submit(own_service.client, dataset, epochs=100_000)
    until(own_service.running_steps)
    children = own_service.children()
    assert len(children) >= 2  # the fork-server and the step
    own_service.kill_worker()
    until(lambda: not any(map(alive, children)), 10)


@pytest.mark.any_database
@pytest.mark.parametrize("end", ["killed", "told twice"])
def test_nor_does_one_that_hangs(own_service, dataset, end):
    """It obeys no order, does not see that its pipe is closed, and keeps a descriptor of the fork-server open."""
    submit(own_service.client, dataset, epochs=100_000)
    [step] = until(own_service.running_steps)
    children = own_service.children()
    step.suspend()
    if end == "killed":
        own_service.kill_worker()
    else:
        until(lambda: own_service.worker.terminate() or own_service.worker.poll())
        assert own_service.worker.returncode == 1
    try:
        until(lambda: not any(map(alive, children)), 30)
    finally:
        for child in filter(alive, children):
            child.kill()


@pytest.mark.any_database
def test_scratch_of_an_attempt_that_was_killed_is_cleared(own_service, dataset):
    """Although its claim was still held when the next worker started."""
    client = own_service.client
    job = submit(client, dataset, epochs=100_000)
    under_way(client, job)
    [left] = (own_service.home / "scratch").iterdir()
    own_service.kill_worker()
    own_service.start_worker()
    until(lambda: client.jobs.get(job).attempt == 2)
    until(lambda: not left.exists())
    [current] = until(lambda: list((own_service.home / "scratch").iterdir()))
    under_way(client, job)
    assert current.exists()
    client.jobs.cancel(job)


def test_a_worker_that_sleeps_past_its_lease_writes_nothing_more(own_service, dataset):
    """Promise 2: a second worker takes the job; the first, awake again, gives up its child and goes on."""
    client = own_service.client
    job = submit(client, dataset, epochs=100_000)
    under_way(client, job)
    sleeper = own_service.worker
    put_to_sleep(own_service)
    own_service.start_worker()
    until(lambda: client.jobs.get(job).attempt == 2, 60)
    under_way(client, job)
    step = client.jobs.get(job).progress.step
    sleeper.send_signal(signal.SIGCONT)
    until(lambda: len(_steps_of(sleeper.pid)) == 0, 20)
    time.sleep(1)
    now = client.jobs.get(job)
    assert (now.status, now.attempt) == ("running", 2)
    assert now.progress.step >= step
    assert sleeper.poll() is None
    client.jobs.cancel(job)
    until(lambda: client.jobs.get(job).status == "cancelled", 20)
    sleeper.terminate()
    assert sleeper.wait(30) == 0


def put_to_sleep(service):
    """SIGSTOP.  One that hits an SQLite writer within its transaction stops all others, too (docs/operations.md):
    then it is woken, and put to sleep again."""
    while True:
        service.worker.send_signal(signal.SIGSTOP)
        if not service.database_url.startswith("sqlite") or _can_write(service.database_url):
            return
        service.worker.send_signal(signal.SIGCONT)
        time.sleep(0.1)


def _can_write(url):
    connection = pysqlite3.connect(url.removeprefix("sqlite:///"), timeout=1, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except pysqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def _steps_of(pid):
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if os.getsid(child.pid) == child.pid]


def test_a_healthy_long_job_is_not_stolen(own_service, dataset):
    """Promise 4: it lasts several leases, and all cores are busy."""
    client = own_service.client
    own_service.start_worker()
    job = submit(client, dataset, epochs=100_000)
    under_way(client, job)
    until(lambda: client.jobs.get(job).progress.step > 0)
    time.sleep(60 if FULL else 15)
    found = client.jobs.get(job)
    assert (found.status, found.attempt) == ("running", 1)
    client.jobs.cancel(job)


@pytest.mark.any_database
def test_a_poisonous_job_ends_and_the_next_one_runs(own_service, dataset):
    """Promise 11: whatever kills its process, it has failed after three attempts, with the reason."""
    client = own_service.client
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT) if FULL else (signal.SIGSEGV,):
        poison = submit(client, dataset, epochs=100_000)
        for attempt in (1, 2, 3):
            until(partial(_is_at_attempt, client, poison, attempt))
            [step] = until(own_service.running_steps)
            step.send_signal(number)
            step.wait(10)
        with pytest.raises(Unsuccessful) as failed:
            client.jobs.wait(poison, timeout_s=60)
        assert failed.value.code == "crashed"
        assert signal.Signals(number).name in failed.value.message
    client.jobs.wait(submit(client, dataset, epochs=2), timeout_s=60)


def _is_at_attempt(client, job, attempt):
    return client.jobs.get(job).attempt == attempt


@pytest.mark.any_database
def test_sigterm_is_gentle(own_service, dataset):
    """Promise 12: saved, queued again, the attempt not counted, no orphan; and the job goes on exactly."""
    client, said = own_service.client, len(own_service.log)
    undisturbed = submit(client, dataset)
    source = client.jobs.wait(undisturbed, timeout_s=120).model
    for method in ("svm", "logistic_regression"):  # their exporter and their solver make semaphores
        made = client.jobs.create(method={"name": method}, checkpoint=source, dataset=dataset.id)
        client.jobs.wait(made.id, timeout_s=120)
    job = submit(client, dataset)
    under_way(client, job)
    children = own_service.children()
    own_service.worker.terminate()
    assert own_service.worker.wait(30) == 0
    waiting = client.jobs.get(job)
    assert (waiting.status, waiting.attempt) == ("queued", 0)
    until(lambda: not any(map(alive, children)), 5)
    assert "leaked" not in own_service.log[said:]  # Python would name what steps left in the system
    own_service.start_worker()
    client.jobs.wait(job, timeout_s=120)
    assert client.jobs.get(job).attempt == 1
    assert weights(client, job) == weights(client, undisturbed)


def test_cancel_while_the_worker_is_dead(own_service, dataset):
    client = own_service.client
    job = submit(client, dataset, epochs=100_000)
    under_way(client, job)
    own_service.kill_worker()
    assert client.jobs.cancel(job).status == "cancelling"
    own_service.start_worker()
    until(lambda: client.jobs.get(job).status == "cancelled", 60)
