"""Good checkpoints in all forms: what becomes of them, and what is said of it."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests import weights_files as files
from tests.weights_files import INPUT, NAMES, NETWORK, prefixed, saved, state
from tests.worker.ingest.checkpointed import refusal, run
from worker.networks import build
from worker.runtime import digest
from worker.runtime.contract import Command, Interrupted, Note
from worker.runtime.recorder import Recorder

FORMS = {
    "safetensors": lambda weights: files.safe(weights),
    "zip": lambda weights: saved(weights),
    "legacy": lambda weights: saved(weights, legacy=True),
    "zip on CUDA": lambda weights: files.on_cuda(saved(weights)),
    "legacy on CUDA": lambda weights: files.on_cuda(saved(weights, legacy=True)),
    "module.": lambda weights: saved(prefixed(weights, "module.")),
    "state_dict": lambda weights: saved({"state_dict": weights, "epoch": 7, "optimizer": {"state": {0: {}}}}),
}


def test_every_form_of_the_same_weights_gives_the_same_checkpoint(tmp_path: Path) -> None:
    weights = state()
    found = [run(tmp_path / form, make(weights)) for form, make in FORMS.items()]
    for ingested in found:
        assert ingested.document["sha256"] == digest.sha256(weights)
        assert ingested.document["parameters"] == sum(p.numel() for p in files.module().parameters())
        assert ingested.document["network"] == NETWORK
        assert set(ingested.weights) == set(NAMES)
        assert not ingested.report["initialised"]
    for role in ("weights", "graph"):
        assert len({ingested.artifacts[role].read_bytes() for ingested in found}) == 1, role


def test_the_graph_answers_as_the_network_of_the_user(tmp_path: Path) -> None:
    """Somebody's PyTorch script, and the graph that serves its weights, on the same images."""
    ingested = run(tmp_path, files.safe(state()))
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    session = onnxruntime.InferenceSession(ingested.artifacts["graph"].read_bytes())
    probabilities, features = session.run(["probabilities", "features"], {"image": image})
    x = (torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - INPUT["mean"][0]) / INPUT["std"][0]
    with torch.no_grad():
        expected = files.module()(x).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert features.shape == (5, 64)


def test_the_weights_file_says_what_it_is(tmp_path: Path) -> None:
    ingested = run(tmp_path, saved(state()), classes=["a", "b", "ü"])
    data = ingested.artifacts["weights"].read_bytes()
    metadata = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    assert metadata["format"] == "pt"
    assert json.loads(metadata["regraft.network"]) == ingested.document["network"]
    assert json.loads(metadata["regraft.input"]) == ingested.document["input"]
    assert json.loads(metadata["regraft.classes"]) == ["a", "b", "ü"]


def test_what_was_given_is_kept(tmp_path: Path) -> None:
    recipe = {"version": 1, "augmentation": [{"name": "horizontal_flip", "p": 0.5}]}
    document = run(tmp_path, saved(state()), classes=["a", "b", "c"], recipe=recipe).document
    assert document["classes"] == ["a", "b", "c"]
    assert document["recipe"] == recipe
    assert document["input"] == {**INPUT, "fit": "stretch", "margin": 0}


def test_a_head_of_other_classes_is_drawn_and_reported(tmp_path: Path) -> None:
    network = json.loads(json.dumps(NETWORK)) | {"num_classes": 5}
    network["options"]["layers"][-1]["layers"][0]["out_features"] = 5
    found = [run(tmp_path / name, saved(state()), network=network) for name in "ab"]
    report = found[0].report
    assert report["initialised"] == ["classifier.0.weight", "classifier.0.bias"]
    assert {entry["name"] for entry in report["skipped"]} == set(report["initialised"])
    assert "[3, 64]" in report["skipped"][0]["reason"]
    assert found[0].document["sha256"] == found[1].document["sha256"]  # drawn the same for the same file
    assert found[0].document["untrained_head"] is True
    [told] = [note for note in found[0].recorder.of(Note) if note.level == "warning"]
    assert told.type == "untrained_head"
    assert "classifier.0.weight" in told.message


def test_weights_of_another_network_fail_with_the_names(tmp_path: Path) -> None:
    failure = refusal(tmp_path, saved({"conv1.weight": torch.ones(4, 3, 3, 3), "features.0.weight": torch.ones(9)}))
    assert failure.code == "weights_do_not_fit"
    for name in ("features.0.weight", "[9]", "conv1.weight", "classifier.0.bias"):
        assert name in failure.message


@pytest.mark.parametrize(
    ("network", "size", "channels"),
    [
        ({"name": "cnn3", "num_classes": 10, "options": {}}, [32, 32], 3),
        ({**NETWORK, "options": {"input": [1, 8, 8], **NETWORK["options"]}}, [8, 8], 1),
    ],
    ids=["cnn3", "layers"],
)
def test_an_input_that_is_not_given_is_the_usual_one(
    tmp_path: Path, network: dict[str, Any], size: list[int], channels: int
) -> None:
    spec = NetworkSpec.model_validate(network)
    input = build.usual_input(spec)
    assert input is not None
    document = run(
        tmp_path, files.safe(dict(build.build(spec, input).state_dict())), network=network, input=None
    ).document
    assert document["input"]["size"] == size
    assert document["input"]["channels"] == channels
    assert InputSpec.model_validate(document["input"]) == input


def test_an_input_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    failure = refusal(tmp_path, saved(state()), input=None)
    assert failure.code == "does_not_fit"
    assert "`input`" in failure.message


@pytest.mark.parametrize("command", ["cancel", "shutdown"])
def test_an_order_to_stop_is_heeded(tmp_path: Path, command: Command) -> None:
    with pytest.raises(Interrupted) as interrupted:
        run(tmp_path, saved(state()), recorder=Recorder(lambda _: command))
    assert interrupted.value.command == command
