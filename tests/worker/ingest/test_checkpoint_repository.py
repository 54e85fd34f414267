"""Repositories of the Hugging Face hub as an archive: all parts of the weights, and what stands beside them."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers

from tests import weights_files as files
from tests.worker.ingest.checkpointed import refusal, run
from tests.worker.ingest.layouts import lively, photographs, vit
from worker.ingest import repository_config
from worker.ingest.repository_config import Described
from worker.runtime.contract import Note

NAMES = {0: "cat", 1: "dog", 2: "horse"}
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.2, 0.3]
NETWORK = {"name": "timm/test_vit", "num_classes": 3, "options": {}}


@pytest.fixture(scope="module")
def network() -> transformers.ViTForImageClassification:
    return lively(transformers.ViTForImageClassification(transformers.ViTConfig(**vit(), id2label=NAMES)))


@pytest.fixture
def folder(tmp_path: Path, network: transformers.ViTForImageClassification) -> Path:
    """A repository as transformers writes it, its weights in several parts."""
    network.save_pretrained(tmp_path / "vit", max_shard_size="400KB")
    settings = {"size": {"height": 64, "width": 64}, "image_mean": MEAN, "image_std": STD}
    transformers.ViTImageProcessor(**settings).save_pretrained(tmp_path / "vit")
    assert len(list((tmp_path / "vit").glob("model-*.safetensors"))) > 2
    return tmp_path / "vit"


def zipped(folder: Path, root: str = "") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, root + path.name)
    return data.getvalue()


def tarred(folder: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as packed:
        packed.add(folder, folder.name)
    return data.getvalue()


def test_a_folder_of_parts_is_read_with_its_classes_and_its_input(
    folder: Path, tmp_path: Path, network: transformers.ViTForImageClassification
) -> None:
    ingested = run(tmp_path / "run", zipped(folder), network=NETWORK, input=None)
    assert ingested.document["classes"] == ["cat", "dog", "horse"]
    assert ingested.document["input"]["size"] == [64, 64]
    assert ingested.document["input"]["mean"] == pytest.approx(MEAN)
    assert ingested.document["input"]["std"] == pytest.approx(STD)
    notes = {note.type: note.message for note in ingested.recorder.of(Note)}
    assert {"names_translated", "configuration_read"} <= notes.keys()
    ours = timm.create_model("test_vit", num_classes=3, img_size=64).eval()
    ours.load_state_dict(ingested.weights)
    with torch.no_grad():
        torch.testing.assert_close(ours(photographs(64)), network(photographs(64)).logits, rtol=0, atol=1e-4)


def test_a_part_that_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    part = sorted(folder.glob("model-*.safetensors"))[1]
    part.unlink()
    for name, data in {"zip": zipped(folder, "vit-tiny/"), "tar": tarred(folder)}.items():
        failure = refusal(tmp_path / name, data, network=NETWORK, input=None)
        assert failure.code == "missing_shard"
        assert part.name in failure.message


def test_a_part_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["vit.more"] = next(iter(index["weight_map"].values()))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    failure = refusal(tmp_path / "run", tarred(folder), network=NETWORK, input=None)
    assert failure.code == "missing_shard"
    assert "vit.more" in failure.message


def test_a_damaged_part_is_refused(folder: Path, tmp_path: Path) -> None:
    part = sorted(folder.glob("model-*.safetensors"))[0]
    part.write_bytes(part.read_bytes()[:-4])
    assert refusal(tmp_path / "run", zipped(folder), network=NETWORK, input=None).code == "corrupt_file"


def test_of_several_files_of_weights_none_is_guessed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("one.safetensors", "two.safetensors"):
        (folder / name).write_bytes(files.safe(files.state()))
    failure = refusal(tmp_path / "run", zipped(folder))
    assert failure.code == "ambiguous_weights"
    assert "two.safetensors" in failure.message


def test_an_archive_without_weights_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    assert refusal(tmp_path / "run", zipped(tmp_path / "folder")).code == "not_a_checkpoint"


def test_configurations_that_make_no_sense_are_refused_or_tell_nothing(folder: Path, tmp_path: Path) -> None:
    assert (
        repository_config.described({"id2label": {"a": 1}, "model_type": "vit", "hidden_size": []}, {}) == Described()
    )
    assert repository_config.described({}, {"size": "large", "image_mean": 3, "image_std": None}) == Described()
    (folder / "config.json").write_text("[1]")
    assert refusal(tmp_path / "run", zipped(folder), network=NETWORK, input=None).code == "corrupt_file"


CONFIGURATIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "ViT": (transformers.ViTConfig, "vit_base_patch16_224"),
    "ViT of another size": (lambda: transformers.ViTConfig(image_size=384), "vit_base_patch16_384"),
    "a tiny DeiT": (
        lambda: transformers.DeiTConfig(hidden_size=192, num_attention_heads=3),
        "deit_tiny_distilled_patch16_224",
    ),
    "BEiT": (transformers.BeitConfig, "beit_base_patch16_224"),
    "DINOv2": (lambda: transformers.Dinov2Config(hidden_size=384, patch_size=14), "vit_small_patch14_dinov2"),
    "DINOv2 with registers": (
        lambda: transformers.Dinov2WithRegistersConfig(patch_size=14),
        "vit_base_patch14_reg4_dinov2",
    ),
    "Swin": (transformers.SwinConfig, "swin_tiny_patch4_window7_224"),
    "Swin V2": (
        lambda: transformers.Swinv2Config(image_size=256, window_size=8),
        "swinv2_tiny_window8_256",
    ),
    "ConvNeXt": (transformers.ConvNextConfig, "convnext_tiny"),
    "ConvNeXt V2": (transformers.ConvNextV2Config, "convnextv2_tiny"),
    "ResNet": (transformers.ResNetConfig, "resnet50"),
    "EfficientNet": (
        lambda: transformers.EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.1),
        "tf_efficientnet_b1",
    ),
    "MobileNetV2": (lambda: transformers.MobileNetV2Config(depth_multiplier=1.4), "mobilenetv2_140"),
    "CLIP": (transformers.CLIPVisionConfig, "vit_base_patch32_clip_quickgelu_224"),
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_the_network_is_known_by_its_configuration(kind: str) -> None:
    make, name = CONFIGURATIONS[kind]
    config = json.loads(make().to_json_string(use_diff=False)) | {"id2label": NAMES}
    found = repository_config.described(config, {})
    assert found.network is not None
    assert found.network.name == f"timm/{name}"
    assert found.network.num_classes == 3
    assert found.classes == ["cat", "dog", "horse"]


def test_timm_s_own_configuration_names_network_and_input() -> None:
    published = {"input_size": [3, 160, 160], "mean": MEAN, "std": STD}
    config = {"architecture": "test_vit", "num_classes": 3, "label_names": ["a", "b", "c"], "pretrained_cfg": published}
    found = repository_config.described(config, {})
    assert found.network is not None
    assert found.input is not None
    assert (found.network.name, found.classes) == ("timm/test_vit", ["a", "b", "c"])
    assert (found.input.size, found.input.mean) == ((160, 160), tuple(MEAN))


def test_numbered_labels_are_no_names() -> None:
    config = {"id2label": {0: "LABEL_0", 1: "LABEL_1"}, "model_type": "vit", "hidden_size": 192}
    assert repository_config.described(config, {}).classes is None
    assert repository_config.described(config | {"id2label": {"0": "a", "1": "a"}}, {}).classes is None


@pytest.mark.parametrize(
    ("preprocessor", "mean", "std"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, 0.5, 0.5),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": False}, 0.0, 1.0),
        (
            {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "rescale_factor": 1 / 127.5, "rescale_offset": True},
            0.5,
            0.5,
        ),
        ({"image_mean": [127.5] * 3, "image_std": [127.5] * 3, "do_rescale": False}, 0.5, 0.5),
    ],
    ids=["as ever", "not normalised", "from -1 to 1", "of pixels"],
)
def test_mean_and_std_are_those_of_values_from_0_to_1(preprocessor: dict[str, Any], mean: float, std: float) -> None:
    found = repository_config.described(
        {}, {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True} | preprocessor
    )
    assert found.input is not None
    assert found.input.size == (224, 224)
    assert found.input.mean == pytest.approx([mean] * 3, abs=1e-5)
    assert found.input.std == pytest.approx([std] * 3, abs=1e-5)
