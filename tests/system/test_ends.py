"""How a job ends that cannot succeed: at once, with the true reason, the same on both databases."""

import pytest
import torch

from regraft import ServerError, Unsuccessful
from tests import digits
from tests.services import until

JOB = {"name": "train", "network": digits.TINY, "epochs": 2, "batch_size": 32, "augmentation": "none"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 30)


def blobs(service):
    return {path for path in (service.home / "blobs" / "sha256").rglob("*") if path.is_file()}


def test_a_blob_that_is_gone_is_named_at_once(service, archive):
    """It is one of the dataset's own: the job ends in its first attempt, and the API says the same."""
    client = service.client
    file = client.files.upload(archive)
    before = blobs(service)
    dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id, seed=11).id)
    away = {path: path.read_bytes() for path in blobs(service) - before}
    assert away
    for path in away:
        path.unlink()
    job = client.jobs.create(method=JOB, dataset=dataset.id)
    with pytest.raises(Unsuccessful) as failed:
        client.jobs.wait(job.id, timeout_s=60)
    assert failed.value.code == "blob_lost"
    assert client.jobs.get(job.id).attempt == 1
    with pytest.raises(ServerError) as refused:
        list(client.datasets.samples(dataset.id))
    assert (refused.value.status, refused.value.code) == (500, "blob_lost")
    for path, content in away.items():
        path.write_bytes(content)
    client.jobs.retry(job.id)
    assert client.jobs.wait(job.id, timeout_s=60).status == "succeeded"


def test_a_blob_that_is_damaged_is_named_at_once(service, archive):
    """As one that is gone is: the job does not try again, nor is it blamed on the service.  The worker's log has both
    attempts, each with its end."""
    client = service.client
    file = client.files.upload(archive)
    before = blobs(service)
    dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id, seed=12).id)
    stored = {path: path.read_bytes() for path in blobs(service) - before}
    assert stored
    for path, content in stored.items():
        path.write_bytes(content[: len(content) // 2])
    job = client.jobs.create(method=JOB, dataset=dataset.id)
    with pytest.raises(Unsuccessful) as failed:
        client.jobs.wait(job.id, timeout_s=60)
    assert (failed.value.code, "damaged" in failed.value.message) == ("blob_lost", True)
    assert client.jobs.get(job.id).attempt == 1
    for path, content in stored.items():
        path.write_bytes(content)
    client.jobs.retry(job.id)
    assert client.jobs.wait(job.id, timeout_s=60).status == "succeeded"
    claimed = f"{job.id}: claimed (run, attempt 1)"
    until(lambda: f"{job.id}: succeeded" in service.log)  # the end is written down first, then logged
    assert logged(service, job.id) == [claimed, f"{job.id}: failed", claimed, f"{job.id}: succeeded"]


def logged(service, job):
    """What the worker has said of the job, as an operator reads it."""
    found = (line.partition(" worker INFO ")[2] for line in service.log.splitlines())
    return [said for said in found if job in said]


def test_figures_that_are_no_numbers_are_no_result(service, archive, digits_model, tmp_path):
    """Weights that are finite, and overflow when they are multiplied."""
    client = service.client
    dataset = client.datasets.wait(client.datasets.create(name="d", file=client.files.upload(archive).id).id)
    path = client.models.download(digits_model, tmp_path / "weights.safetensors")
    weights = {name: tensor * 1e30 for name, tensor in safetensors_of(path).items() if tensor.is_floating_point()}
    file = tmp_path / "huge.pt"
    torch.save(weights, file)
    model = client.models.get(digits_model)
    checkpoint = client.checkpoints.create(
        name="huge",
        file=client.files.upload(file).id,
        network=digits.TINY | {"num_classes": 10},
        input=model.input.model_dump(mode="json"),
        classes=model.classes,
    )
    checkpoint = client.checkpoints.wait(checkpoint.id)
    job = client.jobs.create(method={"name": "evaluate"}, checkpoint=checkpoint.id, dataset=dataset.id)
    with pytest.raises(Unsuccessful) as failed:
        client.jobs.wait(job.id, timeout_s=60)
    assert (failed.value.code, "evaluation.target.nll" in failed.value.message) == ("diverged", True)


def safetensors_of(path):
    from safetensors.torch import load_file

    return load_file(path)


def test_what_was_saved_goes_when_the_job_has_ended(service, archive):
    """Among the blobs that are left there is none that only a going on would have needed."""
    client = service.client
    dataset = client.datasets.wait(client.datasets.create(name="d", file=client.files.upload(archive).id).id)
    before = blobs(service)
    job = client.jobs.create(method=JOB | {"epochs": 100_000}, dataset=dataset.id)
    until(lambda: blobs(service) - before)  # it has saved its state
    first = blobs(service) - before
    until(lambda: blobs(service) - before - first)  # and again
    until(lambda: len(blobs(service) - before) == 1)
    client.jobs.cancel(job.id)
    until(lambda: client.jobs.get(job.id).status == "cancelled")
    until(lambda: blobs(service) <= before)
