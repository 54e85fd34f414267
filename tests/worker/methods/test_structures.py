"""What `lora`, `feature_transfer` and `structure_transfer` take from a source, tensor by tensor."""

import json
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.networks import build, stem
from worker.runtime.contract import Failure

COMMON = {"epochs": 2, "batch_size": 8}


def adapt(folder, method, source=None, target=None):
    case = Setting(
        COMMON | method, source or tasks.source(folder / "source"), target or tasks.dataset(folder / "target", 10)
    )
    return tasks.run(case, folder / "run")


def before(folder):
    return load_file(folder / "source" / "source.safetensors")


def test_lora_merges_its_corrections(tmp_path):
    """Hu et al. 2022: W + (α/r)·BA, a convolution's over its flattened kernel; nothing else moves but the head."""
    outcome = adapt(tmp_path, {"name": "lora", "rank": 2, "alpha": 6.0, "learning_rate": 0.01})
    source, adapter = before(tmp_path), load_file(outcome.adapter_file)
    corrected = {name.split(".lora_")[0] for name in adapter if ".lora_" in name}
    assert corrected == {"base_model.model.features.0", "base_model.model.block.0"}
    for path in corrected:
        low, high = adapter[f"{path}.lora_A.weight"], adapter[f"{path}.lora_B.weight"]
        name = f"{path.removeprefix('base_model.model.')}.weight"
        correction = (high.flatten(1) @ low.flatten(1)).reshape(source[name].shape) * 6.0 / 2
        assert correction.abs().max() > 1e-4
        torch.testing.assert_close(outcome.weights[name], source[name] + correction)
    still = [name for name in source if not name.startswith(("features.0.weight", "block.0.weight", "head."))]
    assert any("running_mean" in name for name in still)
    assert all(torch.equal(outcome.weights[name], source[name]) for name in still)
    assert torch.equal(adapter["base_model.model.head.weight"], outcome.weights["head.weight"])


def test_dora_learns_size_and_direction_apart(tmp_path):
    """Liu et al. 2024, eq. 5: m · (W + (α/r)·BA) / ‖W + (α/r)·BA‖, the norm over each output's weights."""
    outcome = adapt(tmp_path, {"name": "lora", "rank": 2, "alpha": 6.0, "learning_rate": 0.01, "dora": True})
    source, adapter = before(tmp_path), load_file(outcome.adapter_file)
    for path in ("features.0", "block.0"):
        part = {name.removeprefix(f"base_model.model.{path}."): tensor for name, tensor in adapter.items()}
        low, high = part["lora_A.weight"], part["lora_B.weight"]
        weight_OD = (source[f"{path}.weight"].flatten(1) + high.flatten(1) @ low.flatten(1) * 6.0 / 2).double()
        size_O1 = part["lora_magnitude_vector"].reshape(-1, 1)
        assert not torch.allclose(size_O1, source[f"{path}.weight"].flatten(1).norm(dim=1, keepdim=True), atol=1e-4)
        expected_OD = (size_O1 * weight_OD / weight_OD.norm(dim=1, keepdim=True)).float()
        torch.testing.assert_close(outcome.weights[f"{path}.weight"].flatten(1), expected_OD)


def test_an_adapter_says_how_it_is_to_be_used(tmp_path):
    outcome = adapt(tmp_path, {"name": "lora", "rank": 3, "targets": "convolutions"})
    with safe_open(outcome.adapter_file, "pt") as file:
        config = json.loads(file.metadata()["adapter_config"])
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 8.0)
    assert config["target_modules"] == ["block.0", "features.0"]
    assert config["modules_to_save"] == ["head"]


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_an_adapter_loads_into_peft(tmp_path, dora):
    """On the source's weights it gives the merged network, set up by what the file says of itself."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    outcome = adapt(tmp_path, {"name": "lora", "rank": 2, "learning_rate": 0.01, "dora": dora})
    with safe_open(outcome.adapter_file, "pt") as file:
        config = json.loads(file.metadata()["adapter_config"])
    spec, input = NetworkSpec.model_validate(tasks.network(10)), InputSpec.model_validate(tasks.INPUT)
    network, merged = build.build(spec, input).eval(), build.build(spec, input).eval()
    network.load_state_dict(before(tmp_path))
    merged.load_state_dict(outcome.weights)
    inject_adapter_in_model(LoraConfig(**config | {"modules_to_save": None}), network)
    prefix = "base_model.model."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in load_file(outcome.adapter_file).items()}
    corrections = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
    assert any("lora_magnitude_vector" in name for name in corrections) == dora
    told: Any = set_peft_model_state_dict(network, corrections)
    assert not told.unexpected_keys
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.startswith("head."):
                network.state_dict()[name].copy_(tensor)
    x_BCHW = torch.randn(4, 1, tasks.SIDE, tasks.SIDE)
    with torch.inference_mode():
        torch.testing.assert_close(network(x_BCHW), merged(x_BCHW), atol=1e-5, rtol=1e-4)


def test_lora_without_anything_to_correct(tmp_path):
    with pytest.raises(Failure, match="`lora` finds no layer"):
        adapt(tmp_path, {"name": "lora", "targets": "linear"})


OTHER = {
    "name": "layers",
    "num_classes": 10,
    "options": {
        "layers": [
            {"name": "stem", "layers": tasks.LAYERS[0]["layers"]},
            {"name": "flatten", "type": "Flatten"},
            {"name": "head", "type": "Linear", "out_features": 10},
        ]
    },
}


def test_features_go_to_another_architecture_by_shape(tmp_path):
    outcome = adapt(tmp_path, {"name": "feature_transfer", "network": OTHER, "input": tasks.INPUT})
    source = before(tmp_path)
    tensors = outcome.document["transfer"]["tensors"]
    assert {"from": "features.0.weight", "to": "stem.0.weight"} in tensors["renamed"]
    assert torch.equal(outcome.weights["stem.0.weight"], source["features.0.weight"])
    assert torch.equal(outcome.weights["stem.1.running_mean"], source["features.1.running_mean"])
    assert tensors["initialised"] == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"nowhere": "stem"}, "The source has no module nowhere"),
        ({"features": "nowhere"}, "The network has no module nowhere"),
        ({"block": "stem"}, "does not fit"),
        ({"head": "head"}, "is, or holds, the head"),
    ],
)
def test_a_mapping_that_cannot_be(tmp_path, mapping, said):
    with pytest.raises(Failure, match=said):
        adapt(tmp_path, {"name": "feature_transfer", "network": OTHER, "input": tasks.INPUT, "mapping": mapping})


def test_a_network_without_a_layer_in_common(tmp_path):
    other = {"name": "cnn3", "num_classes": 10, "options": {}}
    with pytest.raises(Failure, match="no layer of the kind and shape"):
        adapt(tmp_path, {"name": "feature_transfer", "network": other, "input": tasks.INPUT | {"size": [8, 8]}})


COLOUR = tasks.INPUT | {"channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}


def test_a_grey_stem_repeated_and_a_coloured_one_summed_say_the_same_of_grey_images():
    generator = torch.Generator().manual_seed(0)
    grey = {"w": torch.randn(4, 1, 3, 3, generator=generator)}
    x_BCHW = torch.randn(2, 1, 8, 8, generator=generator)
    coloured = stem.recoloured(grey, {"w": torch.empty(4, 3, 3, 3)})
    assert coloured["w"].shape == (4, 3, 3, 3)
    expected = torch.conv2d(x_BCHW, grey["w"])
    torch.testing.assert_close(torch.conv2d(x_BCHW.expand(-1, 3, -1, -1), coloured["w"]), expected)
    back = stem.recoloured(coloured, {"w": torch.empty(4, 1, 3, 3)})
    torch.testing.assert_close(torch.conv2d(x_BCHW, back["w"]), expected)


def test_other_shapes_are_left_as_they_are():
    tensor = torch.ones(4, 2, 3, 3)
    for place in (torch.empty(4, 3, 3, 3), torch.empty(5, 2, 3, 3), torch.empty(4, 2, 5, 5)):
        assert stem.recoloured({"w": tensor}, {"w": place})["w"] is tensor


def test_structure_transfer_to_colour(tmp_path):
    """Hardly any learning: what the network begins with is the grey source's."""
    outcome = adapt(tmp_path, {"name": "structure_transfer", "input": COLOUR, "learning_rate": 1e-9})
    weight = before(tmp_path)["features.0.weight"]
    torch.testing.assert_close(
        outcome.weights["features.0.weight"], weight.expand(-1, 3, -1, -1) / 3, atol=1e-6, rtol=0
    )
    document = outcome.document
    assert (document["input"]["channels"], document["transfer"]["head"]) == (3, "kept")
    assert "features.0.weight" in document["transfer"]["tensors"]["copied"]
    assert "grey → RGB" in document["transfer"]["adapters"]


def test_structure_without_weights(tmp_path):
    outcome = adapt(tmp_path, {"name": "structure_transfer", "weights": False, "learning_rate": 1e-9})
    assert not torch.allclose(outcome.weights["features.0.weight"], before(tmp_path)["features.0.weight"], atol=0.01)
    assert outcome.document["network"] == tasks.network(10)


def test_structure_transfer_to_other_classes_has_a_new_head(tmp_path):
    target = tasks.dataset(tmp_path / "target", 12, prefix="other ")
    outcome = adapt(tmp_path, {"name": "structure_transfer"}, target=target)
    assert outcome.document["transfer"]["head"] == "new"
    assert outcome.weights["head.weight"].shape[0] == 12


def test_a_source_in_colour_adapts_itself_to_a_grey_target(tmp_path):
    """No `input` is given: the target's images decide."""
    spec = {"network": tasks.network(10), "input": COLOUR, "classes": [str(k) for k in range(10)], "recipe": None}
    torch.manual_seed(0)
    made = build.build(NetworkSpec.model_validate(spec["network"]), InputSpec.model_validate(COLOUR))
    save_file(made.state_dict(), tmp_path / "colour.safetensors")
    outcome = adapt(
        tmp_path,
        {"name": "structure_transfer", "learning_rate": 1e-9},
        source=(spec, tmp_path / "colour.safetensors"),
    )
    expected = made.state_dict()["features.0.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(outcome.weights["features.0.weight"], expected, atol=1e-6, rtol=0)
