"""`wide_resnet` against the network of the paper, written out, and weights of it as they are passed around."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.networks import NetworkSpec
from worker.ingest.adopt import adopt
from worker.networks import build
from worker.networks.wide_resnet import USUAL
from worker.runtime.contract import Failure


def spec(depth: int, widen_factor: int, **options: float) -> NetworkSpec:
    return NetworkSpec(
        name="wide_resnet", num_classes=10, options={"depth": depth, "widen_factor": widen_factor} | options
    )


def weights(depth: int, widen_factor: int) -> dict[str, Tensor]:
    """As a training leaves them: statistics of batch norm are not those of the start."""
    network = build.build(spec(depth, widen_factor), USUAL)
    with torch.no_grad():
        for _ in range(3):
            network.train()(2 * torch.randn(8, 3, 32, 32) + 1)
    return network.state_dict()


def of_the_paper(weight: dict[str, Tensor], depth: int, x_BCHW: Tensor) -> Tensor:
    def active(name: str, y_BCHW: Tensor) -> Tensor:
        mean, var, scale, shift = (
            weight[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((y_BCHW - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)

    x_BCHW = F.conv2d(x_BCHW, weight["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for block in range((depth - 4) // 6):
            name, stride = f"block{stage}.layer.{block}", 2 if stage > 1 and block == 0 else 1
            z_BCHW = active(f"{name}.bn1", x_BCHW)
            y_BCHW = F.conv2d(z_BCHW, weight[f"{name}.conv1.weight"], stride=stride, padding=1)
            y_BCHW = F.conv2d(active(f"{name}.bn2", y_BCHW), weight[f"{name}.conv2.weight"], padding=1)
            if block == 0:
                x_BCHW = F.conv2d(z_BCHW, weight[f"{name}.convShortcut.weight"], stride=stride)
            x_BCHW = x_BCHW + y_BCHW
    return active("bn1", x_BCHW).flatten(2).mean(2) @ weight["fc.weight"].T + weight["fc.bias"]


@pytest.mark.parametrize(("depth", "widen_factor"), [(16, 2), (22, 3)])
def test_weights_of_data_parallel_trainings_load_and_answer_as_the_paper_has_it(depth, widen_factor):
    weight = weights(depth, widen_factor)
    file = {f"state_dict.module.{name}": tensor for name, tensor in weight.items()}
    adopted = adopt(spec(depth, widen_factor), USUAL, file)
    assert adopted.warnings == []
    assert not adopted.untrained_head
    x_BCHW = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            adopted.loaded.network.eval()(x_BCHW), of_the_paper(weight, depth, x_BCHW), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(("depth", "widen_factor"), [(10, 2), (16, 4)])
def test_another_depth_or_width_is_refused(depth, widen_factor):
    with pytest.raises(Failure) as refused:
        adopt(spec(depth, widen_factor), USUAL, weights(16, 2))
    assert refused.value.code == "weights_do_not_fit"


@pytest.mark.parametrize(("depth", "widen_factor", "millions"), [(40, 4, 8.9), (16, 8, 11.0), (28, 10, 36.5)])
def test_it_has_as_many_parameters_as_in_the_paper(depth, widen_factor, millions):
    network = build.shell(spec(depth, widen_factor), USUAL)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions  # Table 4 of the paper


def test_drop_rate_drops_within_the_blocks_while_it_learns():
    network = build.build(spec(10, 1, drop_rate=0.5), USUAL)
    x_BCHW = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval()(x_BCHW), network(x_BCHW))
        for module in network.train().modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        assert not torch.equal(network(x_BCHW), network(x_BCHW))


@pytest.mark.parametrize("options", [{"depth": 20}, {"depth": 4}, {"widen_factor": 0}, {"drop_rate": 1.0}])
def test_what_is_no_such_network_is_refused(options):
    with pytest.raises(Failure) as refused:
        build.build(NetworkSpec(name="wide_resnet", num_classes=10, options=options), USUAL)
    assert refused.value.code == "does_not_fit"
