"""Weights and graph of a network: the graph answers as the network does, whatever the network."""

import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.serving.predictor import OnnxPredictor
from tests.worker.networks.families import OWN
from worker.export import package
from worker.export.package import metadata
from worker.networks import build
from worker.networks.structure import Structure
from worker.runtime import digest

SMALL = InputSpec(size=(32, 40), channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
GREY = InputSpec(size=(32, 32), channels=1, mean=(0.1307,), std=(0.3081,))
SQUARE = InputSpec(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)

NETWORKS = [
    ("cnn3", SMALL),
    ("cnn3", GREY),
    *OWN.items(),
    ("torchvision/resnet18", GREY),
    ("torchvision/squeezenet1_1", SMALL),
    pytest.param("torchvision/mobilenet_v3_small", SMALL, marks=pytest.mark.matrix),
    pytest.param("torchvision/vit_b_16", SQUARE, marks=pytest.mark.matrix),
    ("timm/test_vit", SQUARE),
    ("timm/test_convnext", SQUARE),
    pytest.param("timm/deit_tiny_distilled_patch16_224", SQUARE, marks=pytest.mark.matrix),
]


def packaged(
    folder: Path, network: nn.Module, input: InputSpec, **options: bool
) -> tuple[dict[str, Path], dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    artifacts, packaged = package.package(network, Structure.of(network, input), input, folder, **options)
    return artifacts, packaged.dump()


def lively(name: str, input: InputSpec) -> nn.Module:
    """With statistics of batch norm that are not 0 and 1."""
    torch.manual_seed(0)
    network = build.build(NetworkSpec(name=name, num_classes=10), input)
    network.train()(torch.randn(8, input.channels, *input.size))
    return network


@pytest.mark.parametrize(("name", "input"), NETWORKS)
def test_the_graph_answers_as_the_network(tmp_path: Path, name: str, input: InputSpec) -> None:
    network = lively(name, input)
    structure = Structure.of(network, input)
    artifacts, document = packaged(tmp_path / "out", network, input)
    assert document.pop("image_bytes") > math.prod(input.shape)
    assert document == {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "sha256": digest.sha256(network.state_dict()),
        "not_servable": None,
    }
    predictor = OnnxPredictor(artifacts["graph"], threads=1)
    for count in (1, 2, 5):
        image = np.random.default_rng(count).integers(0, 256, (count, *input.size, input.channels), np.uint8)
        mean, std = (torch.tensor(values)[:, None, None] for values in (input.mean, input.std))
        x = (torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - mean) / std
        with torch.no_grad():
            logits, features = structure.forward(network, x)
        found = predictor.predict(image, features=True)
        np.testing.assert_allclose(found.probabilities, logits.softmax(1), atol=1e-4)
        np.testing.assert_allclose(found.features, features, atol=1e-3 * float(features.abs().max()))
        np.testing.assert_allclose(found.energy, -np.log(np.exp(logits.double().numpy()).sum(1)), rtol=1e-4, atol=1e-4)


def test_of_several_labels_each_has_its_own_probability(tmp_path: Path) -> None:
    network = lively("cnn3", GREY)
    artifacts, _ = packaged(tmp_path / "out", network, GREY, multi_label=True)
    image = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)
    x = (torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - GREY.mean[0]) / GREY.std[0]
    found = OnnxPredictor(artifacts["graph"], threads=1).predict(image)
    with torch.no_grad():
        logits = network(x)
    np.testing.assert_allclose(found.probabilities, logits.sigmoid(), atol=1e-4)
    np.testing.assert_allclose(found.energy, -np.log(1 + np.exp(logits.double().numpy())).sum(1), rtol=1e-4, atol=1e-4)


def test_the_files_are_the_weights_and_a_graph_in_one_file_each(tmp_path: Path) -> None:
    network = lively("cnn3", SMALL)
    artifacts, _ = packaged(tmp_path / "out", network, SMALL)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in artifacts.values()}
    found = load_file(artifacts["weights"])
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())
    graph = onnx.load(artifacts["graph"])
    onnx.checker.check_model(graph)
    assert [(end.name, end.type.tensor_type.elem_type) for end in graph.graph.input] == [
        ("image", onnx.TensorProto.UINT8)
    ]
    [batch, height, width, channels] = graph.graph.input[0].type.tensor_type.shape.dim
    assert (batch.dim_param, height.dim_value, width.dim_value, channels.dim_value) == ("N", 32, 40, 3)
    assert [end.name for end in graph.graph.output] == ["probabilities", "features", "energy"]
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


PACKAGED = """
import sys, torch
from pathlib import Path
from tests.worker.export.test_package import GREY, lively, packaged
packaged(Path(sys.argv[1]), lively("cnn3", GREY), GREY)
"""


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    artifacts, _ = packaged(tmp_path / "here", lively("cnn3", GREY), GREY)
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", PACKAGED, tmp_path / "there"],
        check=True,
        cwd=root,
        env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "5"},
    )
    for path in artifacts.values():
        assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes(), path.name


def test_nothing_is_said_on_the_way(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    packaged(tmp_path / "out", lively("cnn3", GREY), GREY)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


def test_the_network_ends_ready_for_use(tmp_path: Path) -> None:
    network = lively("cnn3", GREY).to(memory_format=torch.channels_last)
    packaged(tmp_path / "out", network.train(), GREY)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.is_contiguous() for parameter in network.parameters())


class DependsOnData(nn.Module):
    """What it does hangs on its input's values: no graph can say that."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(x if float(x.detach().sum()) > 0 else -x)


class FixedBatch(nn.Module):
    """Works for one batch size only."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.reshape(2, -1))


@pytest.mark.parametrize("kind", [DependsOnData, FixedBatch])
def test_what_cannot_be_exported_is_stored_without_a_graph(tmp_path: Path, kind: type[nn.Module]) -> None:
    artifacts, document = packaged(tmp_path / "out", kind(), GREY)
    assert set(artifacts) == {"weights"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["weights.safetensors"]
    assert document["not_servable"].startswith("The network cannot be served: ")
    assert "\n" not in document["not_servable"]


class Drifting(nn.Module):
    """Answers otherwise each time: no graph is equal to it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(x + torch.randn_like(x))


def test_a_graph_that_answers_otherwise_is_not_kept(tmp_path: Path) -> None:
    artifacts, document = packaged(tmp_path / "out", Drifting(), GREY)
    assert set(artifacts) == {"weights"}
    assert "differ" in document["not_servable"]


def test_metadata_is_enough_to_build_the_network_again() -> None:
    spec = NetworkSpec(name="cnn3", num_classes=2)
    about = metadata(spec, GREY, ["ä", "b"])
    assert NetworkSpec.model_validate_json(about["regraft.network"]) == spec
    assert InputSpec.model_validate_json(about["regraft.input"]) == GREY
    assert about["regraft.multi_label"] == "false"
    assert metadata(spec, GREY, None, multi_label=True)["regraft.multi_label"] == "true"
    assert all(isinstance(value, str) for value in about.values())
