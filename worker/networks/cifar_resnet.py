"""`cifar_resnet`: residual networks for small images, as He et al. 2015 trained them on CIFAR-10 (section 4.2).

A 3×3 convolution to 16 channels, three stages of (`depth` − 2) / 6 blocks with 16, 32 and 64 channels, the second and
the third at half the size, the mean over all places, and one linear layer.  Shortcuts have no weights: where size and
channels change they take every second pixel, and new channels are zeros, half of them before the others.
"""

from collections.abc import Iterator
from typing import Annotated

import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from app.contract.base import StrictModel
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry

NAME = "cifar_resnet"
# Of 32×32 images with ImageNet's statistics, with which akamaster/pytorch_resnet_cifar10 trained its published weights.
USUAL = InputSpec(size=(32, 32), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
WIDTHS = (16, 32, 64)


def _whole_blocks(depth: int) -> int:
    if depth % 6 != 2:
        raise ValueError("is 6 times the blocks of a stage and 2: 20, 32, 44, 56, 110, …")
    return depth


class CifarOptions(StrictModel):
    """`depth`: the layers that have weights, 20, 32, 44, 56, 110 or any other 6n + 2."""

    depth: Annotated[int, Field(ge=8, le=1202), AfterValidator(_whole_blocks)] = 20


class BasicBlock(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self._grown = width - before
        self.conv1 = nn.Conv2d(before, width, 3, stride=2 if self._grown else 1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.bn2(self.conv2(self.bn1(self.conv1(x_BCHW)).relu()))
        if self._grown:
            x_BCHW = F.pad(x_BCHW[:, :, ::2, ::2], (0, 0, 0, 0, self._grown // 2, self._grown // 2))
        out_BCHW: Tensor = (y_BCHW + x_BCHW).relu()
        return out_BCHW


class CifarResNet(nn.Module):
    def __init__(self, num_classes: int, channels: int, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        blocks = (depth - 2) // 6
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks)
        self.linear = nn.Linear(WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)  # He et al. 2015, Delving deep into rectifiers

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.bn1(self.conv1(x_BCHW)).relu()
        x_BCHW = self.layer3(self.layer2(self.layer1(x_BCHW)))
        logits_BK: Tensor = self.linear(x_BCHW.mean((2, 3)))
        return logits_BK


def _stage(before: int, width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(BasicBlock(width if i else before, width) for i in range(blocks)))


def knows(name: str) -> bool:
    return name == NAME


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    return CifarResNet(spec.num_classes, input.channels, CifarOptions.model_validate(spec.options).depth)


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return USUAL


def entries() -> Iterator[CatalogueEntry]:
    summary = "Residual network of small images, with shortcuts that have no weights (He et al. 2015, section 4.2)."
    yield entry(NAME, summary, input=USUAL, options=CifarOptions.model_json_schema())
