"""What a job would take, asked over HTTP, measured by a real worker, and compared with the job."""

import pytest

from tests import digits, services

pytestmark = [pytest.mark.any_database, pytest.mark.timeout(600)]
WIDE = {
    "name": "layers",
    "num_classes": 10,
    "options": {
        "layers": [
            {"type": "Flatten"},
            {"type": "Linear", "out_features": 60_000},
            {"type": "ReLU"},
            {"type": "Linear", "out_features": 10},
        ]
    },
}
"""Of which an image in a batch takes about a megabyte."""
INPUT = {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.25]}


@pytest.fixture(scope="module")
def dataset(service, tmp_path_factory):
    client = service.client
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("digits") / "optdigits.zip", 60))
    return client.datasets.wait(client.datasets.create(name="digits", file=file.id).id, timeout_s=240).id


def test_a_rehearsal_says_what_the_job_then_takes(service, dataset, digits_model):
    client = service.client
    request = {"method": {"name": "fine_tune", "epochs": 20}, "checkpoint": digits_model, "dataset": dataset}
    states = []
    asked = client.preflights.create(**request)
    found = client.preflights.wait(asked.id, timeout_s=240, seen=lambda one: states.append(one.status))
    assert set(states) <= {"queued", "running", "ready"}
    assert (found.fits, found.device, found.suggestion, found.warnings) == (True, "cpu", None, [])
    low, high = found.seconds.interval
    assert 0 < low < found.seconds.estimate < high
    assert 0 < found.memory_bytes < found.available_bytes
    again = client.preflights.create(**request)
    assert (again.status, again.seconds, again.memory_bytes) == ("ready", found.seconds, found.memory_bytes)
    job = client.jobs.wait(client.jobs.create(**request).id, timeout_s=240)
    assert job.progress.total_steps == found.steps
    assert (job.method["batch_size"], job.method["epochs"]) == (found.method["batch_size"], 20)


def test_batches_beyond_the_memory_come_with_one_that_fits(each_database, tmp_path):
    method = {"name": "train", "network": WIDE, "input": INPUT, "epochs": 1, "batch_size": 400, "augmentation": "none"}
    with services.running(
        tmp_path / "home", each_database.migrated(), REGRAFT_JOB_MEMORY_BYTES=str(300 * 2**20)
    ) as own:
        client = own.client
        file = client.files.upload(digits.optdigits_folders(tmp_path / "optdigits.zip", 60))
        dataset = client.datasets.wait(client.datasets.create(name="digits", file=file.id).id, timeout_s=240).id
        found = client.preflights.wait(client.preflights.create(method=method, dataset=dataset).id, timeout_s=240)
        assert found.fits is False
        batch_size = found.suggestion["batch_size"]
        assert 4 <= batch_size <= 200
        assert found.available_bytes <= 300 * 2**20
        smaller = client.preflights.create(method=method | {"batch_size": batch_size}, dataset=dataset)
        assert client.preflights.wait(smaller.id, timeout_s=240).fits is True
