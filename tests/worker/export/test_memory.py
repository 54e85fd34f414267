"""What a graph takes for each image is told without running it."""

import numpy as np
import onnx_ir
import pytest
import torch
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.serving.predictor import OnnxPredictor
from worker.export import memory, onnx
from worker.networks import build
from worker.networks.structure import Structure

SPEC = InputSpec(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))


def exported(layers, tmp_path):
    spec = NetworkSpec(name="layers", num_classes=2, options={"input": [1, 8, 8], "layers": layers})
    network = build.build(spec, SPEC).eval()
    structure = Structure.of(network, SPEC)
    return onnx.export(network, structure, SPEC, tmp_path / "graph.onnx"), structure


def test_a_wide_layer_is_counted(tmp_path):
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": 100_000}, {"type": "Linear", "out_features": 2}]
    image_bytes, structure = exported(layers, tmp_path)
    assert memory.MARGIN * 400_000 <= image_bytes < memory.MARGIN * 1_300_000
    predictor = OnnxPredictor(tmp_path / "graph.onnx", 1)
    assert predictor.features == structure.features == 100_000
    outputs = predictor.predict(np.zeros((2, 8, 8, 1), np.uint8))
    assert outputs.probabilities.shape == (2, 2)
    assert outputs.features is None  # nobody asked for them
    assert predictor.predict(np.zeros((2, 8, 8, 1), np.uint8), features=True).features.shape == (2, 100_000)


@pytest.mark.parametrize(("side", "known"), [(3, 3), ("N", 1), ("4*N", 4), ("N + 1", 2), ("N//2*8", 0), (None, None)])
def test_sides_at_one_image(side, known):
    assert memory._side(side if isinstance(side, int) else onnx_ir.SymbolicDim(side)) == known


def test_values_are_freed_after_their_last_use():
    """Of a chain two neighbours are there at a time; a value that is needed at the end is there all the time."""
    chain = nn.Sequential(*(nn.ReLU() for _ in range(6)))

    class Kept(nn.Module):
        def forward(self, x):
            return chain(x) + x

    def needed(network):
        program = torch.onnx.export(network, (torch.zeros(1, 1000),), dynamo=True, verbose=False, optimize=False)
        return memory.of_an_image(program.model) / memory.MARGIN

    with onnx._quiet():
        assert needed(chain) == pytest.approx(8000, abs=4100)  # an output is never freed
        assert needed(Kept()) == pytest.approx(12_000, abs=100)
