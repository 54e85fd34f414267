"""Files whose network nobody names, over HTTP: as other people's programs write them, and those of no known network."""

import os
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save

from regraft import ApiError, Unsuccessful
from tests import services, weights_files
from tests.worker.ingest import rearranged

pytestmark = pytest.mark.any_database

CIFAR = {"name": "cifar_resnet", "num_classes": 10, "options": {"depth": 20}}


def state(name, num_classes=10, **options):
    from app.contract.networks import NetworkSpec
    from worker.networks import build

    spec = NetworkSpec(name=name, num_classes=num_classes, options=options)
    torch.manual_seed(0)
    return dict(build.build(spec, build.usual_input(spec)).state_dict())


@pytest.fixture(scope="module")
def brought(service):
    """The id of an uploaded file."""
    return lambda content: (
        service.client.files.upload(
            content if isinstance(content, bytes) else weights_files.saved(content), filename="weights.pt"
        ).id
    )


@pytest.fixture(scope="module")
def register(service, brought):
    def register(content, **fields):
        created = service.client.checkpoints.create(name="c", file=brought(content), **fields)
        return service.client.checkpoints.wait(created.id, timeout_s=240)

    return register


def test_a_cifar_resnet_in_its_authors_layout_needs_no_network(register):
    """As akamaster/pytorch_resnet_cifar10 writes them: DataParallel's prefix, in `state_dict`, beside a figure."""
    state_dict = rearranged.under(state("cifar_resnet", depth=20), "module.")
    checkpoint = register({"state_dict": state_dict, "best_prec1": 91.7}, network="auto")
    assert checkpoint.network.model_dump() == CIFAR
    assert (checkpoint.identified.rule, checkpoint.input.size) == ("names", (32, 32))
    assert checkpoint.identified.candidates[0]["fit"] == 1
    assert {warning.code for warning in checkpoint.warnings} == {"input_assumed"}
    assert checkpoint.report.initialised == []


def test_efficientnet_lite_by_its_own_package_s_names(register):
    tensors = rearranged.of_efficientnet_pytorch(state("timm/tf_efficientnet_lite0", 1000))
    checkpoint = register(save(tensors))  # sorted by name, as safetensors are
    assert checkpoint.network.name == "timm/tf_efficientnet_lite0"
    assert checkpoint.classes[0] == "tench"
    codes = {warning.code for warning in checkpoint.warnings}
    assert codes == {"names_translated", "input_assumed", "classes_assumed"}
    assert {"from": "_fc.bias", "to": "classifier.bias"} in checkpoint.report.renamed


def test_auxiliary_classifiers_are_left_aside(register):
    """As torchvision saves a GoogLeNet that was trained with them."""
    torch.manual_seed(0)
    network = torchvision.models.googlenet(weights=None, num_classes=10, aux_logits=True, init_weights=False)
    input = {"size": [64, 64], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
    checkpoint = register(dict(network.state_dict()), input=input)
    assert checkpoint.network.model_dump() == {"name": "torchvision/googlenet", "num_classes": 10, "options": {}}
    assert {warning.code for warning in checkpoint.warnings} == {"left_aside"}
    left = {entry["name"]: entry["reason"] for entry in checkpoint.report.skipped}
    assert left.keys() == {name for name in network.state_dict() if name.startswith(("aux1.", "aux2."))}
    assert "auxiliary classifier" in left["aux1.fc2.weight"]
    assert not checkpoint.untrained_head


def test_what_the_request_says_overrides(register):
    input = {"size": [40, 40], "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    classes = [f"class {number}" for number in range(10)]
    tensors = {name.replace("linear.", "score."): t for name, t in state("cifar_resnet", depth=20).items()}
    mapping = {"score.weight": "linear.weight", "score.bias": "linear.bias"}
    checkpoint = register(tensors, mapping=mapping, input=input, classes=classes)
    assert checkpoint.network.model_dump() == CIFAR
    assert (checkpoint.classes, checkpoint.input.size) == (classes, (40, 40))
    assert checkpoint.warnings == []
    assert {"from": "score.bias", "to": "linear.bias", "rule": "mapping"} in checkpoint.report.renamed


def test_a_truncated_file_is_refused_with_the_nearest_named(register):
    tensors = dict(list(state("cifar_resnet", depth=20).items())[:70])
    with pytest.raises(Unsuccessful) as failed:
        register(tensors)
    assert failed.value.code == "network_needed"
    assert "The nearest is cifar_resnet" in failed.value.message


def test_identify_answers_without_a_checkpoint(service, brought):
    client = service.client
    file = brought(rearranged.numbered(state("cifar_resnet", depth=44)))
    before = [checkpoint.id for checkpoint in client.checkpoints.list()]
    found = client.checkpoints.identify(file, timeout_s=120)
    assert (found.object, found.rule, found.file) == ("identification", "structure", file)
    assert found.candidates[0]["network"] == CIFAR | {"options": {"depth": 44}}
    assert found.candidates[0]["input"]["size"] == [32, 32]
    assert {warning.code for warning in found.warnings} == {"matched_by_structure", "input_assumed"}
    assert [checkpoint.id for checkpoint in client.checkpoints.list()] == before
    path = f"/v1/checkpoints/identify/{found.id}"
    with pytest.raises(ApiError) as refused:
        client.files.delete(file)  # it is needed
    assert refused.value.code == "has_dependents"
    assert client.http.delete(path).status_code == 204
    assert client.http.get(path).status_code == 404


OTHER_VERSION = """
import importlib.metadata as metadata

version = metadata.version
metadata.version = lambda name: "9.9.9" if name == "timm" else version(name)
"""


def test_signatures_of_other_versions_serve_until_new_ones_are_made(each_database, tmp_path):
    """An installed timm of another version than the shipped signatures are of."""
    (tmp_path / "sitecustomize.py").write_text(OTHER_VERSION)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(Path.cwd()))])
    with services.running(tmp_path / "home", each_database.migrated(), PYTHONPATH=path) as service:
        client = service.client
        file = client.files.upload(weights_files.saved(state("cifar_resnet", depth=20)), filename="w.pt").id
        found = client.checkpoints.identify(file, timeout_s=120)
        assert found.candidates[0]["network"] == CIFAR
        (message,) = [warning.message for warning in found.warnings if warning.code == "signatures_outdated"]
        assert "timm 9.9.9 and torchvision" in message
        checkpoint = client.checkpoints.create(name="c", file=file)
        checkpoint = client.checkpoints.wait(checkpoint.id, timeout_s=120)
        assert "signatures_outdated" in {warning.code for warning in checkpoint.warnings}
        made = service.home / "cache" / "signatures"
        services.until(lambda: made.exists() and any(made.glob("*timm-9.9.9*/00000")), 280)  # the first piece


def test_identify_names_the_nearest_of_what_it_does_not_know(service, brought):
    found = service.client.checkpoints.identify(brought({"a.weight": torch.ones(16, 3, 3, 3)}), timeout_s=120)
    assert found.rule is None
    assert "network_needed" in {warning.code for warning in found.warnings}
    missing = {"file": "file_000000000000000000000000"}
    assert service.client.http.post("/v1/checkpoints/identify", json=missing).status_code == 404
