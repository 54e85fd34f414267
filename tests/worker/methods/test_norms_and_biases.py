"""`trainable: "norms"` and `"biases"`: what they name learns with the head, and not one bit of anything else."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.methods.supervised.tuning import is_bias
from worker.networks import build, norms
from worker.runtime.contract import Failure

TUNE = {"name": "fine_tune", "epochs": 3, "batch_size": 8, "backbone_factor": 1.0, "weight_decay": 0.1}
HEAD = {"head.weight", "head.bias"}
STATISTICS = {
    f"{path}.{name}"
    for path in ("features.1", "block.1")
    for name in ("running_mean", "running_var", "num_batches_tracked")
}
SCALES, SHIFTS = {"features.1.weight", "block.1.weight"}, {"features.1.bias", "block.1.bias"}
BEFORE_NORMS = {"features.0.bias", "block.0.bias"}
BIASES = SHIFTS | BEFORE_NORMS


def changed(found, before):
    return {name for name in before if not torch.equal(found.weights[name], before[name])}


@pytest.mark.parametrize(
    ("options", "learns"),
    [
        ({"trainable": "norms"}, HEAD | SCALES | SHIFTS | STATISTICS),
        ({"trainable": "norms", "batch_norm": "frozen"}, HEAD | SCALES | SHIFTS),
        ({"trainable": "biases"}, HEAD | BIASES | STATISTICS),
        ({"trainable": "biases", "batch_norm": "frozen", "optimizer": "adamw"}, HEAD | BIASES),
        (
            {"trainable": "biases", "batch_norm": "frozen", "frozen_epochs": 1, "unfreeze_every": 1, "epochs": 2},
            HEAD | {"block.0.bias", "block.1.bias"},
        ),
        ({"trainable": "norms", "frozen_epochs": 3}, HEAD),
    ],
    ids=[
        "norms",
        "norms, statistics frozen",
        "biases",
        "biases, statistics frozen",
        "the last stage",
        "the head first",
    ],
)
def test_exactly_what_is_named_learns(tmp_path, options, learns):
    source = tasks.source(tmp_path / "source")
    found = tasks.run(Setting(TUNE | options, source, tasks.dataset(tmp_path / "target", 10)), tmp_path / "run")
    names = changed(found, load_file(source[1]))
    if learns >= STATISTICS:  # what is added before a batch's own mean is taken away has no gradient but of rounding
        names |= learns & BEFORE_NORMS
    assert names == learns


def test_the_report_names_the_parameters(tmp_path):
    case = Setting(
        TUNE | {"trainable": "norms"}, tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "target", 10)
    )
    assert set(tasks.run(case, tmp_path / "run").document["transfer"]["trainable"]) == HEAD | SCALES | SHIFTS


def test_batch_norm_without_scales_keeps_its_statistics(tmp_path):
    """It learns nothing, so nothing of it may change."""
    network = deepcopy(tasks.network(10))
    network["options"]["layers"][1]["layers"][1] |= {"affine": False}
    (document, _), path = tasks.source(tmp_path / "source"), tmp_path / "plain.safetensors"
    document = document | {"network": network}
    weights = build.build(NetworkSpec.model_validate(network), InputSpec.model_validate(tasks.INPUT)).state_dict()
    save_file(weights, path)
    case = Setting(TUNE | {"trainable": "norms"}, (document, path), tasks.dataset(tmp_path / "target", 10))
    found = tasks.run(case, tmp_path / "run")
    assert {"features.1.weight", "features.1.running_mean"} <= changed(found, weights)
    assert not any(name.startswith("block.1.") for name in changed(found, weights))


def test_a_network_without_any_is_refused(tmp_path):
    network = deepcopy(tasks.network(10))
    for block in network["options"]["layers"]:
        if "layers" in block:
            block["layers"] = [layer for layer in block["layers"] if layer["type"] != "BatchNorm2d"]
    (document, _), path = tasks.source(tmp_path / "source"), tmp_path / "plain.safetensors"
    save_file(
        build.build(NetworkSpec.model_validate(network), InputSpec.model_validate(tasks.INPUT)).state_dict(), path
    )
    case = Setting(TUNE, (document | {"network": network}, path), tasks.dataset(tmp_path / "target", 10))
    with pytest.raises(Failure, match="Below its head the network has no norms") as refused:
        tasks.run(replace(case, method=TUNE | {"trainable": "norms"}), tmp_path / "norms")
    assert refused.value.code == "does_not_fit"
    biases = tasks.run(replace(case, method=TUNE | {"trainable": "biases"}), tmp_path / "biases")
    assert changed(biases, load_file(path)) == HEAD | {"features.0.bias", "block.0.bias"}


@pytest.mark.parametrize(
    ("name", "norm", "biases"),
    [
        ("timm/test_vit", "blocks.0.norm1", {"blocks.0.attn.qkv.bias", "patch_embed.proj.bias"}),
        ("torchvision/vit_b_16", "encoder.ln", {"encoder.layers.encoder_layer_0.self_attention.in_proj_bias"}),
        ("timm/resnet10t", "bn1", {"bn1.bias"}),
        ("timm/beit_base_patch16_224", "blocks.0.norm1", {"blocks.0.attn.q_bias"}),
    ],
)
def test_norms_and_biases_of_libraries_are_found(name, norm, biases):
    size = 224 if "224" in name or name.startswith("torchvision") else 160
    input = InputSpec(size=(size, size), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    network = build.shell(NetworkSpec(name=name, num_classes=10, options={}), input)
    assert norm in norms.scaled(network)
    found = {parameter for parameter, tensor in network.named_parameters() if is_bias(parameter, tensor)}
    assert biases <= found
    assert not any("table" in parameter for parameter in found)
