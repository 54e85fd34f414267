"""Networks of papers described as data: they agree with the modules that somebody wrote, weight by weight."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import DenseNet
from torchvision.ops import SqueezeExcitation

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import cifar_resnet
from worker.networks import layers as builder

Described = dict[str, Any]
COLOUR = InputSpec(size=(32, 32), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def one(type: str, name: str | None = None, **keywords: Any) -> Described:
    return {"type": type, **({} if name is None else {"name": name}), **keywords}


def group(name: str, layers: list[Described]) -> Described:
    return {"name": name, "layers": layers}


def conv(name: str, out: int, kernel: int = 3, **keywords: Any) -> Described:
    keywords = {"padding": kernel // 2, "bias": False} | keywords
    return one("Conv2d", name, out_channels=out, kernel_size=kernel, **keywords)


def cifar_resnet_20() -> list[Described]:
    def block(number: int, width: int, before: int) -> list[Described]:
        grown = width - before
        body = [conv("conv1", width, stride=2 if grown else 1), one("BatchNorm2d", "bn1"), one("ReLU", "relu1")]
        body += [conv("conv2", width), one("BatchNorm2d", "bn2")]
        pad = one("PadChannels", before=grown // 2, after=grown // 2)
        shortcut = {"shortcut": [one("Subsample"), pad]} if grown else {}
        return [one("Residual", str(number), layers=body, **shortcut), one("ReLU", f"relu{number}")]

    layers = [conv("conv1", 16), one("BatchNorm2d", "bn1"), one("ReLU", "relu")]
    for stage, (before, width) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
        blocks = [block(i, width, width if i else before) for i in range(3)]
        layers.append(group(f"layer{stage}", [layer for each in blocks for layer in each]))
    return [*layers, one("GlobalAvgPool2d", "pool"), one("Linear", "linear", out_features=10)]


def squeeze_and_excitation() -> list[Described]:
    squeeze = [one("AdaptiveAvgPool2d", "avgpool", output_size=1), conv("fc1", 4, 1, bias=True), one("ReLU")]
    excite = [conv("fc2", 16, 1, bias=True), one("Sigmoid")]
    gate = one("Product", "1", layers=[*squeeze, *excite])
    return [conv("0", 16), gate, one("GlobalMaxPool2d", "pool"), one("Linear", "4", out_features=10)]


def dense_net() -> list[Described]:
    def dense(name: str) -> Described:
        bottleneck = [one("BatchNorm2d", "norm1"), one("ReLU", "relu1"), conv("conv1", 16, 1)]
        new = [one("BatchNorm2d", "norm2"), one("ReLU", "relu2"), conv("conv2", 4)]
        return one("Concatenation", name, layers=[*bottleneck, *new])

    stem = [conv("conv0", 8, 7, stride=2), one("BatchNorm2d", "norm0"), one("ReLU", "relu0")]
    stem += [one("MaxPool2d", "pool0", kernel_size=3, stride=2, padding=1)]
    blocks = group("denseblock1", [dense(f"denselayer{i}") for i in (1, 2, 3)])
    features = group("features", [*stem, blocks, one("BatchNorm2d", "norm5")])
    rest = [one("ReLU", "relu"), one("GlobalAvgPool2d", "pool"), one("Linear", "classifier", out_features=10)]
    return [features, *rest]


def written() -> dict[str, tuple[list[Described], nn.Module]]:
    se = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1, bias=False), SqueezeExcitation(16, 4)),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    dense = DenseNet(growth_rate=4, block_config=(3,), num_init_features=8, num_classes=10)
    return {
        "cifar_resnet": (cifar_resnet_20(), cifar_resnet.CifarResNet(10, 3, 20)),
        "squeeze and excitation": (squeeze_and_excitation(), se),
        "densenet": (dense_net(), dense),
    }


@pytest.mark.parametrize("name", ["cifar_resnet", "squeeze and excitation", "densenet"])
def test_a_described_network_agrees_with_the_module(name: str):
    torch.manual_seed(0)
    description, module = written()[name]
    with torch.no_grad():
        for _ in range(3):  # statistics of batch norm are not those of the start
            module.train()(2 * torch.randn(8, 3, 32, 32) + 1)
    spec = NetworkSpec(name="layers", num_classes=10, options={"layers": description})
    network = builder.build(spec, COLOUR)
    network.load_state_dict(module.state_dict())  # strictly: every name is the same
    x_BCHW = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x_BCHW), module.eval()(x_BCHW), rtol=1e-6, atol=1e-6)


def test_a_vector_multiplies_its_channels_at_all_places():
    gate = one("Product", layers=[one("GlobalAvgPool2d"), one("Linear", "fc", out_features=3), one("Sigmoid")])
    description = [gate, one("Flatten"), one("Linear", out_features=10)]
    block = builder.build(NetworkSpec(name="layers", num_classes=10, options={"layers": description}), COLOUR)[0]
    x_BCHW = torch.randn(2, 3, 32, 32)
    scale_BC = torch.sigmoid(block.get_submodule("fc")(x_BCHW.mean((2, 3))))
    torch.testing.assert_close(block(x_BCHW), torch.einsum("bchw,bc->bchw", x_BCHW, scale_BC))
