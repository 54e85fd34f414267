"""What is written of a network: canonical weights, and a graph that answers as the network does."""

import struct

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.export import onnx, package, safetensors
from worker.export.served import Served
from worker.networks import build
from worker.networks.structure import Structure
from worker.runtime import digest

SIDES = {"timm/vit_tiny_patch16_224": 32, "torchvision/squeezenet1_1": 64}
NETWORKS = [
    "cnn3",
    "torchvision/resnet18",
    "torchvision/mobilenet_v3_small",
    "torchvision/squeezenet1_1",
    "timm/vit_tiny_patch16_224",
]


def built(name, channels=3):
    side = SIDES.get(name, 32)
    input = InputSpec(size=(side, side), channels=channels, mean=(0.4,) * channels, std=(0.3,) * channels)
    torch.manual_seed(0)
    network = build.build(NetworkSpec(name=name, num_classes=6), input).eval()
    return network, Structure.of(network, input), input


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_answers_as_the_network(tmp_path, name):
    network, structure, input = built(name)
    artifacts, document = package.package(network, structure, input, tmp_path)
    assert document["not_servable"] is None
    session = onnxruntime.InferenceSession(artifacts["graph"].read_bytes())
    [taken] = session.get_inputs()
    assert (taken.name, taken.type) == ("image", "tensor(uint8)")
    for count in (1, 2, 7):
        image = np.random.default_rng(count).integers(0, 256, (count, *input.size, input.channels), np.uint8)
        probabilities, features = session.run(["probabilities", "features"], {"image": image})
        x = (torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - 0.4) / 0.3
        with torch.no_grad():
            logits, seen = structure.forward(network, x)
        np.testing.assert_allclose(probabilities, logits.softmax(1).numpy(), atol=1e-4)
        np.testing.assert_allclose(features, seen.numpy(), atol=1e-3, rtol=1e-3)


def test_the_same_network_gives_the_same_graph(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        network, structure, input = built("cnn3")
        package.package(network, structure, input, tmp_path / name)
    for file in ("graph.onnx", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["graph.onnx", "weights.safetensors"]


class Unexportable(nn.Module):
    """Leaves PyTorch for NumPy on the way."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        flat = x.flatten(1)[:, :4]
        return self.fc(torch.from_numpy(np.sort(flat.detach().numpy())) * flat.sum())


def test_a_network_that_cannot_be_exported_is_kept_with_the_reason(tmp_path):
    input = InputSpec(size=(4, 4), channels=1, mean=(0.0,), std=(1.0,))
    network = Unexportable().eval()
    structure = Structure(heads=("fc",), stages=(), features=4, separable=True)
    artifacts, document = package.package(network, structure, input, tmp_path)
    assert set(artifacts) == {"weights"}
    assert "cannot be served" in document["not_servable"]
    assert not (tmp_path / "graph.onnx").exists()


def test_a_graph_that_differs_is_refused(tmp_path):
    network, structure, input = built("cnn3")
    onnx.export(network, structure, input, tmp_path / "graph.onnx")
    with torch.no_grad():
        network.fc3.bias[0] += 1
    with pytest.raises(onnx.NotExportable, match="probabilities differ"):
        onnx._compare(Served(network, structure, input).eval(), input, tmp_path / "graph.onnx")


def tensors():
    return {
        "b": torch.arange(6.0).reshape(2, 3).T,
        "a": torch.tensor(7),
        "ü": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False, True]),
        "empty": torch.empty(0, 4),
        "half": torch.ones(3, dtype=torch.float16),
    }


def test_safetensors_are_canonical_and_valid(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    safetensors.write(one, tensors(), {"format": "pt", "x": "ü"})
    safetensors.write(two, dict(reversed(tensors().items())), {"x": "ü", "format": "pt"})
    assert one.read_bytes() == two.read_bytes()
    found = load_file(one)
    assert digest.sha256(found) == digest.sha256(tensors())
    assert found.keys() == tensors().keys()
    with safe_open(one, "pt") as file:
        assert file.metadata() == {"format": "pt", "x": "ü"}
    (length,) = struct.unpack("<Q", one.read_bytes()[:8])
    assert length % 8 == 0
