"""`mnist_cnn` against DomainBed's network, written out from the tables of the paper's appendix."""

import torch
import torch.nn.functional as F

from app.contract.networks import NetworkSpec
from worker.ingest.adopt import adopt
from worker.networks import build
from worker.networks.mnist_cnn import USUAL

SPEC = NetworkSpec(name="mnist_cnn", num_classes=10)


def test_weights_by_the_names_of_domainbed_answer_as_the_paper_has_it():
    weight = {name: torch.randn_like(tensor) / 10 for name, tensor in build.build(SPEC, USUAL).state_dict().items()}
    adopted = adopt(SPEC, USUAL, {f"model_dict.{name}": tensor for name, tensor in weight.items()})
    assert adopted.warnings == []
    x_BCHW = torch.rand(4, 1, 28, 28)
    y_BCHW = x_BCHW
    for i in range(4):
        conv, norm = (
            [weight[f"featurizer.{kind}.{part}"] for part in ("weight", "bias")] for kind in (f"conv{i + 1}", f"bn{i}")
        )
        y_BCHW = F.conv2d(y_BCHW, *conv, stride=2 if i == 1 else 1, padding=1).clamp(min=0)
        grouped = y_BCHW.unflatten(1, (8, -1))
        deviation, mean = torch.std_mean(grouped, dim=(2, 3, 4), correction=0, keepdim=True)
        y_BCHW = ((grouped - mean) / (deviation.square() + 1e-5).sqrt()).flatten(1, 2)
        y_BCHW = y_BCHW * norm[0][:, None, None] + norm[1][:, None, None]
    expected = y_BCHW.mean((2, 3)) @ weight["classifier.weight"].T + weight["classifier.bias"]
    with torch.inference_mode():
        torch.testing.assert_close(adopted.loaded.network.eval()(x_BCHW), expected, rtol=1e-4, atol=1e-4)


def test_widths_and_groups_are_those_of_the_table():
    network = build.build(SPEC, USUAL)
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items() if tensor.ndim == 4}
    assert list(shapes.values()) == [[64, 1, 3, 3], [128, 64, 3, 3], [128, 128, 3, 3], [128, 128, 3, 3]]
    assert {m.num_groups for m in network.modules() if isinstance(m, torch.nn.GroupNorm)} == {8}
