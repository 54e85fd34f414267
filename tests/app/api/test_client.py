"""Our own client against the real API: what it sends is what is taken, and what it reads is what is given."""

import hashlib
import os

import numpy as np
import pytest

import regraft
from regraft import Client
from tests.app.api.world import CLASSES, WEIGHTS, bar, png


@pytest.fixture
def ours(api, world):
    with Client(api.url, key=world.client.headers["Authorization"].split()[1]) as client:
        yield client


def test_files(ours, tmp_path):
    content = os.urandom(1_000_000)
    (tmp_path / "x.bin").write_bytes(content)
    whole = ours.files.upload(tmp_path / "x.bin")
    parted = ours.files.upload(tmp_path / "x.bin", part_bytes=300_000)
    assert whole.sha256 == parted.sha256 == hashlib.sha256(content).hexdigest()
    assert [file.id for file in ours.files.list(page_size=1)] == [parted.id, whole.id]
    ours.files.delete(whole.id)
    with pytest.raises(regraft.NotFound):
        ours.files.get(whole.id)


def test_from_job_to_prediction(ours, world, tmp_path):
    dataset = ours.datasets.create(name="bars", file=ours.files.upload(b"x").id, metadata={"a": "b"})
    world.finish_dataset(dataset.id)
    assert ours.datasets.wait(dataset.id, timeout_s=5).classes == CLASSES
    assert ours.datasets.samples(dataset.id, split="test")["data"][0]["label"] == "top"
    checkpoint = world.checkpoint()["id"]
    job = ours.jobs.create(method={"name": "fine_tune", "epochs": 3}, dataset=dataset.id, checkpoint=checkpoint)
    assert ours.jobs.pause(job.id).status == "paused"
    assert ours.jobs.resume(job.id).status == "queued"
    world.say(job.id, "hello")
    world.finish_job(job.id)
    done = ours.jobs.wait(job.id, timeout_s=5)
    assert done.evaluation.target.accuracy == 1.0
    told = [event.message for event in ours.jobs.stream(job.id)]
    assert "hello" in told
    assert told == [event.message for event in ours.jobs.events(job.id, page_size=2)]
    assert ours.jobs.metrics(job.id, name="loss") == []
    assert ours.models.get(done.model).sha256 == "b" * 64
    assert [p.label for p in ours.models.predict(done.model, [png("top"), bar("bottom")])] == ["top", "bottom"]
    assert ours.checkpoints.predict(checkpoint, bar("middle"), top_k=1)[0].top[0].label == "middle"
    assert np.array(ours.models.embeddings(done.model, bar("top"))).shape == (1, 81)
    assert ours.models.download(done.model, tmp_path).read_bytes() == WEIGHTS
    assert ours.models.download(done.model, tmp_path, format="onnx").exists()
    with pytest.raises(regraft.Conflict) as refused:
        ours.datasets.delete(dataset.id)
    assert refused.value.code == "has_dependents"
    ours.datasets.delete(dataset.id, cascade=True)
    assert list(ours.models.list()) == []


def test_catalogue_and_keys(api, ours):
    assert {method.name for method in ours.methods.list()} >= {"train", "evaluate"}
    assert list(ours.networks.list()) == []
    with pytest.raises(regraft.Forbidden):
        ours.keys.create(name="x")
    with Client(api.url, key=(api.home / "admin.key").read_text().strip()) as root:
        key = root.keys.create(name="x", scopes=["read"], owner="somebody")
        with Client(api.url, key=key.key) as somebody:
            assert list(somebody.jobs.list()) == []
        root.keys.delete(key.id)


def test_faults_are_told(api, ours):
    with pytest.raises(regraft.Invalid) as invalid:
        ours.jobs.create(method={"name": "fine_tune", "epochs": 0}, dataset="ds_0000", checkpoint="ckpt_0000")
    assert invalid.value.errors[0]["param"] == "method.epochs"
    with Client(api.url, key="nonsense") as stranger, pytest.raises(regraft.Unauthenticated):
        next(stranger.jobs.list())
