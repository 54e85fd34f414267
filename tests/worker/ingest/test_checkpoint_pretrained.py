"""Published weights, from the libraries' own caches: what their download leaves there is what they read next time."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from huggingface_hub import constants as hub

from tests.worker.ingest.checkpointed import refusal, run
from worker.runtime import digest


@pytest.fixture
def torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_torchvision(tmp_path: Path, torch_cache: Path) -> None:
    torch.manual_seed(0)
    weights = torchvision.models.squeezenet1_1().state_dict()
    published = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    torch.save(weights, torch_cache / published.url.rpartition("/")[2])
    found = run(tmp_path / "run", None, pretrained="torchvision/squeezenet1_1:IMAGENET1K_V1", network=None, input=None)
    assert found.document["sha256"] == digest.sha256(weights)
    assert found.document["network"] == {"name": "torchvision/squeezenet1_1", "num_classes": 1000, "options": {}}
    assert found.document["input"]["size"] == [224, 224]
    assert found.document["recipe"] == {"version": 1, "input": found.document["input"]}
    classes = found.document["classes"]
    assert len(set(classes)) == 1000
    assert classes[0] == "tench"


def test_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    weights = timm.create_model("mobilenetv3_small_050").state_dict()
    cfg = timm.get_pretrained_cfg("mobilenetv3_small_050")
    repository = tmp_path / "hub" / f"models--{cfg.hf_hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    safetensors.torch.save_file(weights, repository / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    found = run(tmp_path / "run", None, pretrained="timm/mobilenetv3_small_050", network=None, input=None)
    assert found.document["sha256"] == digest.sha256(weights)
    assert len(set(found.document["classes"])) == found.document["network"]["num_classes"] == 1000


@pytest.mark.parametrize(
    ("pretrained", "code"),
    [
        ("torchvision/squeezenet1_1", "download_failed"),
        ("timm/mobilenetv3_small_050", "download_failed"),
        ("torchvision/squeezenet1_1:NOPE", "unknown_network"),
        ("timm/mobilenetv3_small_050:nope", "unknown_network"),
        ("timm/nope", "unknown_network"),
    ],
)
def test_what_cannot_be_had_is_told(tmp_path: Path, torch_cache: Path, pretrained: str, code: str) -> None:
    assert refusal(tmp_path / "run", None, pretrained=pretrained, network=None, input=None).code == code
