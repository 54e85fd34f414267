"""`cifar_resnet` against the network of the paper, written out, and weights of it as they are passed around."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.networks import NetworkSpec
from worker.ingest.adopt import adopt
from worker.networks import build
from worker.networks.cifar_resnet import USUAL
from worker.runtime.contract import Failure


def spec(depth: int) -> NetworkSpec:
    return NetworkSpec(name="cifar_resnet", num_classes=10, options={"depth": depth})


def weights(depth: int) -> dict[str, Tensor]:
    """As a training leaves them: statistics of batch norm are not those of the start."""
    network = build.build(spec(depth), USUAL)
    with torch.no_grad():
        for _ in range(3):
            network.train()(2 * torch.randn(8, 3, 32, 32) + 1)
    return network.state_dict()


def of_the_paper(weight: dict[str, Tensor], depth: int, x_BCHW: Tensor) -> Tensor:
    def normed(name: str, y_BCHW: Tensor) -> Tensor:
        mean, var, scale, shift = (
            weight[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (y_BCHW - mean) / (var + 1e-5).sqrt() * scale + shift

    x_BCHW = normed("bn1", F.conv2d(x_BCHW, weight["conv1.weight"], padding=1)).clamp(min=0)
    for stage in (1, 2, 3):
        for block in range((depth - 2) // 6):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y_BCHW = F.conv2d(x_BCHW, weight[f"{name}.conv1.weight"], stride=stride, padding=1)
            y_BCHW = normed(f"{name}.bn1", y_BCHW).clamp(min=0)
            y_BCHW = normed(f"{name}.bn2", F.conv2d(y_BCHW, weight[f"{name}.conv2.weight"], padding=1))
            if stride == 2:
                zero_BCHW = torch.zeros_like(y_BCHW[:, : y_BCHW.shape[1] // 4])
                x_BCHW = torch.cat((zero_BCHW, x_BCHW[:, :, ::2, ::2], zero_BCHW), dim=1)
            x_BCHW = (x_BCHW + y_BCHW).clamp(min=0)
    return x_BCHW.flatten(2).mean(2) @ weight["linear.weight"].T + weight["linear.bias"]


@pytest.mark.parametrize("depth", [20, 44])
def test_weights_of_data_parallel_trainings_load_and_answer_as_the_paper_has_it(depth):
    weight = weights(depth)
    file = {f"state_dict.module.{name}": tensor for name, tensor in weight.items()}
    adopted = adopt(spec(depth), USUAL, file)
    assert adopted.warnings == []
    assert not adopted.untrained_head
    x_BCHW = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            adopted.loaded.network.eval()(x_BCHW), of_the_paper(weight, depth, x_BCHW), rtol=1e-4, atol=1e-4
        )


def test_another_depth_is_refused():
    file = {f"state_dict.module.{name}": tensor for name, tensor in weights(44).items()}
    with pytest.raises(Failure, match="Without a place") as refused:
        adopt(spec(20), USUAL, file)
    assert refused.value.code == "weights_do_not_fit"


def test_it_has_as_many_parameters_as_in_the_paper():
    network = build.build(spec(20), USUAL)
    trained = sum(p.numel() for p in network.parameters())
    assert round(trained / 1e6, 2) == 0.27  # Table 6 of the paper


@pytest.mark.parametrize("depth", [19, 21, 2])
def test_a_depth_that_is_none_is_refused(depth):
    with pytest.raises(Failure) as refused:
        build.build(spec(depth), USUAL)
    assert refused.value.code == "does_not_fit"
