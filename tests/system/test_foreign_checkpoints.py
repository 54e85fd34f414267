"""Checkpoints as people bring them, over HTTP: what was decided, drawn or left out is said where they look."""

import argparse
import pathlib

import numpy as np
import pytest
import torch
import torchvision

from regraft import ApiError, Invalid, Unsuccessful
from tests import digits, weights_files

pytestmark = pytest.mark.any_database

SIZE = {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.25]}
COLOUR = {"size": [32, 32], "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
CNN = {"name": "cnn3", "num_classes": 10}


@pytest.fixture(scope="module")
def register(service):
    def register(content, *, filename="weights.pt", **fields):
        data = content if isinstance(content, bytes) else weights_files.saved(content)
        file = service.client.files.upload(data, filename=filename)
        body = {"name": "c", "file": file.id} | fields
        created = service.client.http.post("/v1/checkpoints", json=body).json()
        return service.client.checkpoints.wait(created["id"], timeout_s=120)

    return register


@pytest.fixture(scope="module")
def target(service, tmp_path_factory):
    path = digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 20)
    file = service.client.files.upload(path)
    return service.client.datasets.wait(service.client.datasets.create(name="t", file=file.id).id, timeout_s=60)


def cnn(classes=10, channels=1):
    from app.contract.inputs import InputSpec
    from app.contract.networks import NetworkSpec
    from worker.networks import build

    torch.manual_seed(0)
    input = InputSpec(size=(8, 8), channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    return dict(build.build(NetworkSpec(name="cnn3", num_classes=classes), input).state_dict())


def codes(checkpoint):
    return {warning.code for warning in checkpoint.warnings}


def refused(call):
    with pytest.raises(ApiError) as error:
        call()
    return error.value.status, error.value.code


def test_a_head_of_other_classes_answers_nothing_until_it_has_learnt(service, register, target):
    client = service.client
    checkpoint = register(cnn(classes=7), network=CNN, input=SIZE, classes=target.classes)
    assert codes(checkpoint) == {"untrained_head"}
    assert checkpoint.report.initialised == ["fc3.weight", "fc3.bias"]
    events = client.http.get(f"/v1/checkpoints/{checkpoint.id}/events").json()["data"]
    assert "untrained_head" in {event["type"] for event in events}
    image = np.zeros((8, 8), np.uint8)
    assert refused(lambda: client.checkpoints.predict(checkpoint.id, [image])) == (409, "untrained_head")
    asked = {"method": "evaluate", "checkpoint": checkpoint.id, "dataset": target.id}
    assert refused(lambda: client.jobs.create(**asked)) == (409, "untrained_head")
    method = {"name": "fine_tune", "epochs": 1}
    job = client.jobs.wait(
        client.jobs.create(method=method, checkpoint=checkpoint.id, dataset=target.id).id, timeout_s=120
    )
    model = client.http.get(f"/v1/models/{job.model}").json()
    assert model["untrained_head"] is False
    assert model["transfer"]["head"] == "new"
    assert client.models.predict(job.model, [image])[0].label in target.classes


def test_what_was_drawn_for_a_checkpoint_is_drawn_in_the_report_of_its_models(service, register, target):
    weights = {name: tensor for name, tensor in cnn().items() if name != "conv2.bias"}
    with pytest.raises(Unsuccessful) as failed:
        register(weights, network=CNN, input=SIZE)
    assert failed.value.code == "weights_do_not_fit"
    assert "conv2.bias" in failed.value.message
    checkpoint = register(weights, network=CNN, input=SIZE, classes=target.classes, allow_missing=True)
    assert codes(checkpoint) == {"initialised"}
    method = {"name": "fine_tune", "epochs": 1}
    job = service.client.jobs.wait(
        service.client.jobs.create(method=method, checkpoint=checkpoint.id, dataset=target.id).id, timeout_s=120
    )
    tensors = service.client.http.get(f"/v1/models/{job.model}").json()["transfer"]["tensors"]
    assert "conv2.bias" in tensors["initialised"]
    assert "conv2.bias" not in tensors["copied"]
    assert "conv2.weight" in tensors["copied"]


def test_of_raw_and_averaged_weights_the_averaged_are_taken_and_others_can_be_named(register):
    raw = cnn()
    averaged = {name: tensor + 1 for name, tensor in raw.items()}
    content = {
        "state_dict": raw,
        "state_dict_ema": averaged,
        "args": argparse.Namespace(data=pathlib.PurePosixPath("x")),
    }
    taken = register(content, network=CNN, input=SIZE)
    named = register(content, network=CNN, input=SIZE, weights="raw")
    for checkpoint, weights in ((taken, averaged), (named, raw)):
        assert codes(checkpoint) == {"weights_chosen"}
        assert checkpoint.sha256 == register(weights, network=CNN, input=SIZE).sha256


def test_two_encoders_are_told_apart_whatever_their_order(register):
    query, key = cnn(), {name: tensor + 1 for name, tensor in cnn().items()}
    names = weights_files.prefixed(key, "module.encoder_k.") | weights_files.prefixed(query, "module.encoder_q.")
    checkpoint = register(weights_files.safe(names), filename="moco.safetensors", network=CNN, input=SIZE)
    assert checkpoint.sha256 == register(query, network=CNN, input=SIZE).sha256
    assert codes(checkpoint) == {"weights_chosen"}


def test_a_download_registers_again_by_itself(service, register):
    first = register(cnn(), network=CNN, input=SIZE, classes=[f"class {k}" for k in range(10)])
    data = service.client.http.get(f"/v1/checkpoints/{first.id}/weights").content
    again = register(data, filename="weights.safetensors")
    for field in ("network", "input", "classes", "sha256"):
        assert getattr(again, field) == getattr(first, field), field


def test_without_a_network_in_the_file_its_weights_tell_it(register):
    found = register(cnn())
    assert found.network.name == "cnn3"
    assert "input_assumed" in codes(found)
    with pytest.raises(Unsuccessful) as failed:
        register({"w": torch.zeros(3, 5)})
    assert failed.value.code == "network_needed"


def test_means_of_0_to_255_are_refused_with_those_that_are_meant(service):
    file = service.client.files.upload(weights_files.saved(cnn(channels=3)))
    caffe = COLOUR | {"mean": [123.68, 116.78, 103.94], "std": [58.4, 57.1, 57.4]}
    with pytest.raises(Invalid) as refusal:
        service.client.checkpoints.create(name="c", file=file.id, network=CNN, input=caffe)
    assert refusal.value.param == "input.mean"
    assert "0.485" in str(refusal.value)
    assert "0.229" in str(refusal.value)


def test_a_deeper_network_s_file_is_not_taken_for_a_shallower_one(register):
    """All that resnet18 needs is in it, by the same names and shapes."""
    with pytest.raises(Unsuccessful) as failed:
        register(
            torchvision.models.resnet34(num_classes=10).state_dict(),
            network={"name": "torchvision/resnet18", "num_classes": 10},
            input=COLOUR,
        )
    assert failed.value.code == "weights_do_not_fit"
    assert "layer1.2.conv1.weight" in failed.value.message
