"""Weights as other people's scripts and libraries store them: taken as the field does and said, or refused by name."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests import weights_files as files
from tests.weights_files import INPUT, NETWORK, State, prefixed, saved, state
from tests.worker.ingest.checkpointed import refusal, run
from worker.ingest import weights
from worker.ingest.adopt import adopt
from worker.ingest.watch import DiskWatch
from worker.networks import build
from worker.runtime.contract import Note
from worker.runtime.recorder import Recorder

COLOUR: dict[str, Any] = {"size": [32, 32], "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
RESNET: dict[str, Any] = {
    "network": {"name": "torchvision/resnet18", "num_classes": 10, "options": {}},
    "input": COLOUR,
}


@dataclass(frozen=True)
class Taken:
    """What became of a file, before anything is exported."""

    network: NetworkSpec
    weights: State
    report: dict[str, list[Any]]
    untrained_head: bool
    warnings: dict[str, str]


def take(
    folder: Path, data: bytes, network: dict[str, Any] = NETWORK, input: dict[str, Any] | None = INPUT, **asked: Any
) -> Taken:
    path = folder / "file"
    path.write_bytes(data)
    spec = NetworkSpec.model_validate(network)
    contract = build.usual_input(spec) if input is None else InputSpec.model_validate(input)
    assert contract is not None
    adopted = adopt(spec, contract, weights.read(path, DiskWatch(Recorder())), **asked)
    assert all(note.level == "warning" for note in adopted.warnings)
    return Taken(
        adopted.network,
        dict(adopted.loaded.network.state_dict()),
        adopted.loaded.report.document().dump(),
        adopted.untrained_head,
        {note.type: note.message for note in adopted.warnings},
    )


def moved(weights: State, by: float = 1.0) -> State:
    return {name: tensor + by if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def same(found: State, expected: State) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def headless(weights: State) -> State:
    return {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}


SETS = {  # of the weights that are right, and of others: what a file holds, and what the warning names
    "timm": (lambda right, other: {"state_dict": other, "state_dict_ema": right}, "`state_dict_ema` (ema)"),
    "averaged by hand": (lambda right, other: {"model": other, "model_ema": {"module": right}}, "(ema)"),
    "stochastic averages": (lambda right, other: {"model": other, "swa_model": prefixed(right, "module.")}, "(ema)"),
    "MMEngine": (
        lambda right, other: {
            "state_dict": right,
            "ema_state_dict": prefixed(other, "module.") | {"steps": torch.ones(1)},
        },
        "`state_dict` (ema)",
    ),
    "MoCo": (
        lambda right, other: {
            "state_dict": prefixed(right, "module.encoder_q.")
            | prefixed(other, "module.encoder_k.")
            | {"module.queue": torch.ones(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
        },
        "encoder_q` (query)",
    ),
    "MoCo v3": (
        lambda right, other: prefixed(right, "base_encoder.") | prefixed(other, "momentum_encoder."),
        "`base_encoder`",
    ),
    "DINO": (
        lambda right, other: {
            "student": prefixed(other, "module.backbone.") | {"module.head.last.weight": torch.ones(2)},
            "teacher": prefixed(right, "backbone.") | {"head.last.weight": torch.ones(2)},
            "dino_loss": {"center": torch.ones(1, 4)},
        },
        "(teacher)",
    ),
    "BYOL": (
        lambda right, other: prefixed(right, "online_encoder.") | prefixed(other, "target_encoder."),
        "(online)",
    ),
}


@pytest.mark.parametrize("order", ["as they come", "backwards"])
@pytest.mark.parametrize("kind", SETS)
def test_of_several_sets_the_field_s_choice_is_taken_whatever_their_order(
    tmp_path: Path, kind: str, order: str
) -> None:
    make, named = SETS[kind]
    content = make(
        headless(state()) if kind == "DINO" else state(), headless(moved(state())) if kind == "DINO" else moved(state())
    )
    if order == "backwards":
        content = {
            key: dict(reversed(value.items())) if isinstance(value, dict) else value
            for key, value in reversed(content.items())
        }
    taken = take(tmp_path, saved(content))
    for name, tensor in headless(state()).items():
        assert torch.equal(taken.weights[name], tensor), name
    said = taken.warnings
    assert named in said["weights_chosen"]
    assert "`weights`" in said["weights_chosen"]
    assert set(said) == {"weights_chosen"} | ({"untrained_head"} if kind == "DINO" else set())


@pytest.mark.parametrize(
    ("wanted", "right"),
    [("raw", 0), ("state_dict", 0), ("ema", 1), ("state_dict_ema", 1), ("state_dict_ema.", 1)],
)
def test_another_set_can_be_named(tmp_path: Path, wanted: str, right: int) -> None:
    sets = state(), moved(state())
    taken = take(tmp_path, saved({"state_dict": sets[0], "state_dict_ema": sets[1]}), weights=wanted)
    assert same(taken.weights, sets[right])


def test_encoder_k_can_be_named(tmp_path: Path) -> None:
    data = files.safe(prefixed(state(), "module.encoder_q.") | prefixed(moved(state()), "module.encoder_k."))
    assert same(take(tmp_path, data, weights="encoder_k").weights, moved(state()))


@pytest.mark.parametrize("wanted", [None, "ema"])
def test_sets_that_fit_equally_are_not_guessed_between(tmp_path: Path, wanted: str | None) -> None:
    failure = refusal(tmp_path, saved({"one": state(), "two": moved(state())}), weights=wanted)
    assert failure.code == "ambiguous_weights"
    assert "`one`" in failure.message
    assert "`two`" in failure.message


def test_sets_that_are_equal_need_no_choice(tmp_path: Path) -> None:
    assert same(take(tmp_path, saved({"one": state(), "another": moved(state(), 0)})).weights, state())


def test_a_teacher_of_other_shapes_is_left_aside(tmp_path: Path) -> None:
    larger = {name: torch.cat((tensor, tensor)) if tensor.ndim else tensor for name, tensor in state().items()}
    taken = take(tmp_path, saved({"teacher": larger, "student": state()}))
    assert same(taken.weights, state())
    assert "weights_chosen" in taken.warnings


def transformers_resnet(weights: State) -> State:
    """torchvision's names as transformers' ResNetForImageClassification has them."""

    def name(given: str) -> str:
        given = re.sub(r"^conv1\.", "resnet.embedder.embedder.convolution.", given)
        given = re.sub(r"^bn1\.", "resnet.embedder.embedder.normalization.", given)
        given = re.sub(r"^fc\.", "classifier.1.", given)
        parts = given.split(".")
        if not parts[0].startswith("layer"):
            return given
        front = f"resnet.encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}"
        if parts[2] == "downsample":
            return f"{front}.shortcut.{('convolution', 'normalization')[int(parts[3])]}.{parts[4]}"
        kind = "convolution" if parts[2].startswith("conv") else "normalization"
        return f"{front}.layer.{int(parts[2][-1]) - 1}.{kind}.{parts[3]}"

    return {name(given): tensor for given, tensor in weights.items()}


def resnet(classes: int = 10) -> State:
    torch.manual_seed(0)
    return dict(torchvision.models.resnet18(num_classes=classes).state_dict())


def test_transformers_resnet_is_renamed(tmp_path: Path) -> None:
    taken = take(tmp_path, files.safe(transformers_resnet(resnet())), **RESNET)
    assert same(taken.weights, resnet())
    assert set(taken.warnings) == {"names_translated"}
    assert "ResNet of transformers" in taken.warnings["names_translated"]
    assert {"from": "classifier.1.weight", "to": "fc.weight"} in taken.report["renamed"]


def test_other_names_of_transformers_are_refused_by_its_name(tmp_path: Path) -> None:
    names = ["vit.embeddings.cls_token", "vit.encoder.layer.0.attention.attention.query.weight"]
    network = {"name": "timm/test_vit", "num_classes": 10, "options": {}}
    failure = refusal(tmp_path, files.safe({name: torch.ones(4, 4) for name in names}), network=network, input=None)
    assert failure.code == "foreign_names"
    assert "transformers" in failure.message


PEFT = {
    "layers": "base_model.model.{}.base_layer.weight",
    "corrections": "base_model.model.{}.lora_A.default.weight",
    "modules": "base_model.model.{}.modules_to_save.default.weight",
}


@pytest.mark.parametrize("kind", PEFT)
def test_corrections_that_are_not_merged_are_refused(tmp_path: Path, kind: str) -> None:
    weights = prefixed(state(), "base_model.model.") | {PEFT[kind].format("classifier.0"): torch.ones(3, 64)}
    failure = refusal(tmp_path, saved(weights))
    assert failure.code == "unmerged_adapter"
    assert "merge_and_unload()" in failure.message


def test_merged_corrections_are_weights_like_others(tmp_path: Path) -> None:
    assert same(take(tmp_path, saved(prefixed(state(), "base_model.model."))).weights, state())


def test_one_shard_of_several_is_refused_as_such(tmp_path: Path) -> None:
    weights = resnet()
    first = dict(list(weights.items())[: 2 * len(weights) // 3])
    failure = refusal(tmp_path, files.safe(first), filename="model-00001-of-00002.safetensors", **RESNET)
    assert failure.code == "weights_do_not_fit"
    assert "one of 2 parts" in failure.message
    assert "Missing are" in failure.message
    assert "Missing are" in refusal(tmp_path / "b", files.safe(first), **RESNET).message  # whatever its name


def test_the_head_of_mmpretrain_goes_into_the_network_s(tmp_path: Path) -> None:
    weights = {
        f"head.{name}" if name.startswith("fc.") else f"backbone.{name}": tensor for name, tensor in resnet().items()
    }
    taken = take(tmp_path, saved({"meta": {"CLASSES": ["a"]}, "state_dict": weights}), **RESNET)
    assert same(taken.weights, resnet())
    assert "head.fc.weight → fc.weight" in taken.warnings["head_renamed"]
    assert taken.untrained_head is False


def test_the_head_of_mmpretrain_for_other_classes_is_said_to_be_left_out(tmp_path: Path) -> None:
    weights = {
        f"head.{name}" if name.startswith("fc.") else f"backbone.{name}": tensor for name, tensor in resnet(7).items()
    }
    taken = take(tmp_path, saved({"state_dict": weights}), **RESNET)
    assert taken.untrained_head is True
    assert "head.fc.weight" in taken.warnings["untrained_head"]


VIT: dict[str, Any] = {
    "network": {"name": "timm/vit_tiny_patch16_224", "num_classes": 10, "options": {}},
    "input": None,
}


def test_a_transformer_that_averages_its_tokens_is_recognised(tmp_path: Path) -> None:
    """As MAE fine-tunes: fc_norm behind the pooling, no norm before it."""
    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=10, global_pool="avg").eval()
    taken = take(tmp_path, saved({"model": dict(theirs.state_dict())}), **VIT)
    assert taken.network.options == {"global_pool": "avg"}
    assert "pooling_recognised" in taken.warnings
    input = build.usual_input(taken.network)
    assert input is not None
    ours = build.build(taken.network, input)
    ours.load_state_dict(taken.weights)
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs(x))


def test_embeddings_of_another_size_are_resampled_and_said(tmp_path: Path) -> None:
    weights = dict(timm.create_model("vit_tiny_patch16_224", num_classes=10).state_dict())
    input = {"size": [64, 64], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
    taken = take(tmp_path, saved(weights), **VIT | {"input": input})
    assert "pos_embed" in taken.warnings["positions_resampled"]
    assert taken.weights["pos_embed"].shape == (1, 17, 192)
    assert not taken.report["initialised"]


def test_colour_weights_for_grey_images_are_converted_and_said(tmp_path: Path) -> None:
    grey = {"size": [32, 32], "channels": 1, "mean": [0.5], "std": [0.25]}
    taken = take(tmp_path, saved(resnet()), **RESNET | {"input": grey})
    assert torch.equal(taken.weights["conv1.weight"], resnet()["conv1.weight"].sum(1, keepdim=True))
    assert "conv1.weight" in taken.warnings["channels_converted"]
    assert not taken.report["initialised"]


def test_without_a_head_in_the_file_the_head_is_said_to_be_drawn(tmp_path: Path) -> None:
    taken = take(tmp_path, saved(headless(state())))
    assert taken.untrained_head is True
    assert "the file has none" in taken.warnings["untrained_head"]


def test_missing_and_left_over_tensors_are_allowed_where_the_request_says_so(tmp_path: Path) -> None:
    given: dict[str, Tensor] = {name: t for name, t in state().items() if name != "features.0.bias"}
    given["neck.weight"] = torch.ones(3)
    failure = refusal(tmp_path / "refused", saved(given))
    assert "features.0.bias" in failure.message
    assert "neck.weight" in failure.message
    taken = take(tmp_path, saved(given), allow_missing=True)
    said = taken.warnings
    assert "features.0.bias" in said["initialised"]
    assert "neck.weight" in said["left_over"]
    assert taken.report["initialised"] == ["features.0.bias"]
    assert taken.untrained_head is False


def test_nothing_at_all_is_never_allowed(tmp_path: Path) -> None:
    assert refusal(tmp_path, saved({"neck.weight": torch.ones(3)}), allow_missing=True).code == "weights_do_not_fit"


def test_a_download_of_ours_names_network_input_and_classes_itself(tmp_path: Path) -> None:
    first = run(tmp_path / "first", saved(state()), classes=["a", "b", "c"], multi_label=True)
    again = run(tmp_path / "again", first.artifacts["weights"].read_bytes(), network=None, input=None)
    for field in ("network", "input", "classes", "multi_label", "sha256", "untrained_head"):
        assert again.document[field] == first.document[field], field
    assert again.artifacts["weights"].read_bytes() == first.artifacts["weights"].read_bytes()
    named = run(tmp_path / "named", first.artifacts["weights"].read_bytes(), input=None)  # the network is given
    assert named.document["classes"] == ["a", "b", "c"]


def test_a_download_remembers_that_its_head_was_drawn(tmp_path: Path) -> None:
    first = run(tmp_path / "first", saved(headless(state())))
    again = run(tmp_path / "again", first.artifacts["weights"].read_bytes(), network=None, input=None)
    assert again.document["untrained_head"] is True


def test_a_file_of_others_needs_a_network(tmp_path: Path) -> None:
    for name, data in {"safetensors": files.safe(state()), "torch": saved(state())}.items():
        failure = refusal(tmp_path / name, data, network=None)
        assert failure.code == "network_needed"
        assert "`network`" in failure.message


@pytest.mark.parametrize(
    "metadata",
    [
        {"regraft.network": "{"},
        {"regraft.network": '{"name": 7}'},
        {"regraft.network": '{"name":"cnn3","num_classes":3,"options":{}}', "regraft.classes": "[1]"},
    ],
    ids=["no JSON", "no network", "no names"],
)
def test_metadata_that_makes_no_sense_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    assert refusal(tmp_path, files.safe(state(), metadata), network=None).code == "corrupt_file"


BESIDE: dict[str, dict[str, Any]] = {  # where names of classes stand beside the weights
    "mmpretrain": {"meta": {"dataset_meta": {"classes": ["a", "b", "c"]}}},
    "mmcls": {"meta": {"CLASSES": ("a", "b", "c"), "epoch": 3}},
    "a script": {"class_to_idx": {"b": 1, "a": 0, "c": 2}, "epoch": 3},
}


@pytest.mark.parametrize("kind", BESIDE)
def test_names_of_classes_beside_the_weights_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(saved({"state_dict": state()} | BESIDE[kind]))
    contents = weights.contents(path, DiskWatch(Recorder()))
    assert contents.classes == ["a", "b", "c"]
    assert contents.tensors.keys() == {f"state_dict.{name}" for name in state()}


@pytest.mark.parametrize(
    "beside",
    [
        {"class_to_idx": {"a": 0, "b": 2}},
        {"classes": ["a", "a"]},
        {"classes": [1, 2]},
        {"classes": ["a", "b"], "meta": {"CLASSES": ["b", "a"]}},
    ],
    ids=["gap", "twice", "numbers", "two orders"],
)
def test_names_of_classes_that_are_not_plain_are_not_read(tmp_path: Path, beside: dict[str, Any]) -> None:
    path = tmp_path / "file"
    path.write_bytes(saved({"state_dict": state()} | beside))
    assert weights.contents(path, DiskWatch(Recorder())).classes is None


def test_names_of_classes_in_the_file_are_the_checkpoint_s_and_said(tmp_path: Path) -> None:
    ingested = run(tmp_path, saved({"state_dict": state(), "meta": {"CLASSES": ["a", "b", "c"]}}))
    assert ingested.document["classes"] == ["a", "b", "c"]
    assert "configuration_read" in {note.type for note in ingested.recorder.of(Note)}
