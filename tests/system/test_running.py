"""Jobs under way: progress as it comes, cancel, pause and resume, orders that race with the end."""

import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from regraft import Conflict, Unsuccessful
from tests import digits
from tests.services import until
from worker.executors import confinement

LONG = {"name": "train", "network": digits.TINY, "epochs": 100_000, "batch_size": 32, "augmentation": "none"}


@pytest.fixture(scope="module")
def dataset(service, tmp_path_factory):
    path = digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 30)
    file = service.client.files.upload(path)
    return service.client.datasets.wait(service.client.datasets.create(name="d", file=file.id).id)


def started(client, dataset, **changes):
    """A job that has made some steps."""
    job = client.jobs.create(method=LONG | changes, dataset=dataset.id)
    until(lambda: client.jobs.get(job.id).progress.step > 5)
    return job


@pytest.mark.skipif(confinement.missing() is not None, reason=str(confinement.missing()))
def test_what_users_send_is_read_in_confinement(service, tmp_path):
    """Neither network nor processes nor secrets, and processor time by the size of the file; and it can be read."""
    file = service.client.files.upload(digits.optdigits_folders(tmp_path / "optdigits.zip", 100))
    dataset = service.client.datasets.create(name="d", file=file.id)

    def confined():
        """Looked at while it does not move: the file may be read soon."""
        for step in service.running_steps():
            with suppress(psutil.NoSuchProcess):
                step.suspend()
                if "Seccomp:\t2" in Path(f"/proc/{step.pid}/status").read_text():
                    return step
                step.resume()
        return None

    step = until(confined)
    try:
        assert b"REGRAFT" not in Path(f"/proc/{step.pid}/environ").read_bytes()
        limits = Path(f"/proc/{step.pid}/limits").read_text().splitlines()
        [limit] = [line.split() for line in limits if "cpu time" in line]
        assert 599 <= int(limit[3]) < int(limit[4]) < 700
    finally:
        step.resume()
    assert service.client.datasets.wait(dataset.id).status == "ready"

    greedy = service.client.datasets.create(name="greedy", file=file.id)
    step = until(confined)
    step.send_signal(signal.SIGXCPU)  # as the kernel does when the time is over
    step.resume()
    with pytest.raises(Unsuccessful) as failed:
        service.client.datasets.wait(greedy.id)
    assert failed.value.code == "cpu_time_exceeded"


def test_progress_is_told_while_it_runs(service, dataset):
    job = started(service.client, dataset)
    running = service.client.jobs.get(job.id)
    assert running.status == "running"
    assert 0 < running.progress.fraction < 1
    assert running.progress.total_steps == 100_000 * 7
    until(lambda: service.client.jobs.get(job.id).progress.eta_s)
    until(lambda: service.client.jobs.metrics(job.id, name="loss"))
    service.client.jobs.cancel(job.id)
    with pytest.raises(Unsuccessful):
        service.client.jobs.wait(job.id)


def test_a_running_job_stops_within_a_second_or_so(service, dataset):
    job = started(service.client, dataset)
    assert service.client.jobs.cancel(job.id).status == "cancelling"
    until(lambda: service.client.jobs.get(job.id).status == "cancelled", 5)
    ended = service.client.jobs.get(job.id)
    assert ended.model is None
    assert ended.finished_at is not None
    until(lambda: not service.running_steps(), 5)
    with pytest.raises(Conflict) as refused:
        service.client.jobs.cancel(job.id)
    assert refused.value.code == "wrong_status"


def test_pause_and_resume_lose_nothing(service, dataset):
    whole = service.client.jobs.create(method=LONG | {"epochs": 450}, dataset=dataset.id, seed=5)
    done = service.client.jobs.wait(whole.id, timeout_s=120)
    parted = service.client.jobs.create(method=LONG | {"epochs": 450}, dataset=dataset.id, seed=5)
    until(lambda: service.client.jobs.get(parted.id).progress.step > 5)
    service.client.jobs.pause(parted.id)
    until(lambda: service.client.jobs.get(parted.id).status in ("paused", "succeeded"))
    paused = service.client.jobs.get(parted.id)
    assert paused.status == "paused", "it was too quick to be paused: make it longer"
    assert paused.progress.step < 450 * 7
    service.client.jobs.resume(parted.id)
    again = service.client.jobs.wait(parted.id, timeout_s=120)
    assert again.attempt == 1  # a pause is none
    digests = {service.client.models.get(job.model).sha256 for job in (done, again)}
    assert len(digests) == 1
    one, two = (
        [(p.name, p.split, p.step, p.value) for p in service.client.jobs.metrics(job.id)] for job in (done, again)
    )
    assert one == two


def test_events_stream_to_the_end(service, dataset):
    job = service.client.jobs.create(method=LONG | {"epochs": 3}, dataset=dataset.id)
    types = [event.type for event in service.client.jobs.stream(job.id)]
    assert types[0] == "queued"
    assert types[-1] == "succeeded"
    assert {"started", "training", "exporting"} <= set(types)
    assert [event.type for event in service.client.jobs.events(job.id)] == types


def test_a_job_may_be_sent_before_its_dataset_is_ready(service, tmp_path):
    client = service.client
    file = client.files.upload(digits.optdigits_folders(tmp_path / "more.zip", 40))
    dataset = client.datasets.create(name="not yet", file=file.id)
    job = client.jobs.create(method=LONG | {"epochs": 1}, dataset=dataset.id)
    done = client.jobs.wait(job.id, timeout_s=60)
    assert done.method["batch_size"] == 32
    assert done.lineage["dataset_sha256"] == client.datasets.get(dataset.id).sha256


def test_a_job_whose_dataset_fails_says_so(service, tmp_path):
    client = service.client
    file = client.files.upload(b"no archive", filename="data.zip")
    dataset = client.datasets.create(name="bad", file=file.id)
    job = client.jobs.create(method=LONG | {"epochs": 1}, dataset=dataset.id)
    with pytest.raises(Unsuccessful) as failed:
        client.jobs.wait(job.id, timeout_s=60)
    assert failed.value.code == "dependency_failed"
    with pytest.raises(Unsuccessful):
        client.datasets.wait(dataset.id)


def test_a_loss_that_is_no_number_is_told_with_its_step(service, dataset):
    method = LONG | {"epochs": 20, "optimizer": "sgd", "learning_rate": 100, "momentum": 0.99}
    job = service.client.jobs.create(method=method, dataset=dataset.id)
    with pytest.raises(Unsuccessful) as failed:
        service.client.jobs.wait(job.id, timeout_s=60)
    assert failed.value.code == "diverged"
    assert "step" in failed.value.message
    assert service.client.jobs.get(job.id).attempt == 1
    retried = service.client.jobs.retry(job.id)
    assert (retried.status, retried.error) == ("queued", None)
    with pytest.raises(Unsuccessful):
        service.client.jobs.wait(job.id, timeout_s=60)


def test_a_job_that_runs_for_longer_than_it_may_fails_and_leaves_nothing(service, dataset):
    """Pauses do not count; a retry begins anew, and fails alike."""
    client = service.client
    job = client.jobs.create(method=LONG, dataset=dataset.id, max_seconds=2)
    with pytest.raises(Unsuccessful) as failed:
        client.jobs.wait(job.id, timeout_s=120)
    assert failed.value.code == "too_long"
    ended = client.jobs.get(job.id)
    assert (ended.status, ended.model, ended.max_seconds) == ("failed", None, 2)
    client.jobs.retry(job.id)
    assert client.jobs.wait(job.id, timeout_s=120, check=False).error.code == "too_long"


def test_a_job_of_higher_priority_overtakes_those_of_its_owner(service, dataset):
    client = service.client
    running = started(client, dataset)
    short = LONG | {"epochs": 1}
    low, normal, high = (
        client.jobs.create(method=short, dataset=dataset.id, priority=priority)
        for priority in ("low", "normal", "high")
    )
    assert [client.jobs.get(job.id).queue_position for job in (low, normal, high)] == [2, 1, 0]
    client.jobs.cancel(running.id)
    ended = [client.jobs.wait(job.id, timeout_s=120) for job in (low, normal, high)]
    assert [job.priority for job in sorted(ended, key=lambda job: job.started_at)] == ["high", "normal", "low"]
