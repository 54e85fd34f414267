"""`wide_resnet`: wide residual networks for small images (Zagoruyko & Komodakis 2016, Wide residual networks).

A 3×3 convolution to 16 channels, three stages of (`depth` − 4) / 6 blocks with 16, 32 and 64 times `widen_factor`
channels, the second and the third at half the size, batch norm and ReLU, the mean over all places, and one linear
layer.  In a block norm and ReLU stand before each convolution; where the channels change the shortcut is a 1×1
convolution of what they give.  Names of the weights are those of xternalz/WideResNet-pytorch, which most PyTorch files
of such networks have.
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

NAME = "wide_resnet"
# CIFAR-10's statistics at 32×32, as the paper has them.
USUAL = InputSpec(size=(32, 32), channels=3, mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616))
STEM = 16


def _whole_wide_blocks(depth: int) -> int:
    if depth % 6 != 4:
        raise ValueError("is 6 times the blocks of a stage and 4: 10, 16, 22, 28, 40, …")
    return depth


class WideOptions(StrictModel):
    """`depth` is 10, 16, 22, 28, 40 or any other 6n + 4; `widen_factor` times 16, 32 and 64 channels; `drop_rate`:
    dropout between the convolutions of a block (the paper's CIFAR networks have 0 or 0.3)."""

    depth: Annotated[int, Field(ge=10, le=1204), AfterValidator(_whole_wide_blocks)] = 28
    widen_factor: Annotated[int, Field(ge=1, le=32)] = 2
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0


class WideBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(drop_rate)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.convShortcut = None if before == width else nn.Conv2d(before, width, 1, stride=stride, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        z_BCHW = self.bn1(x_BCHW).relu()
        if self.convShortcut is not None:
            x_BCHW = self.convShortcut(z_BCHW)
        y_BCHW = self.conv2(self.dropout(self.bn2(self.conv1(z_BCHW)).relu()))
        out_BCHW: Tensor = x_BCHW + y_BCHW
        return out_BCHW


class WideStage(nn.Module):
    def __init__(self, blocks: list[WideBlock]) -> None:
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.layer(x_BCHW)
        return y_BCHW


class WideResNet(nn.Module):
    def __init__(self, num_classes: int, channels: int, options: WideOptions) -> None:
        super().__init__()
        widths = [scale * options.widen_factor for scale in (16, 32, 64)]
        self.conv1 = nn.Conv2d(channels, STEM, 3, padding=1, bias=False)
        self.block1 = _stage(STEM, widths[0], 1, options)
        self.block2 = _stage(widths[0], widths[1], 2, options)
        self.block3 = _stage(widths[1], widths[2], 2, options)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")  # as the paper's authors do
        nn.init.zeros_(self.fc.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.block3(self.block2(self.block1(self.conv1(x_BCHW))))
        logits_BK: Tensor = self.fc(F.relu(self.bn1(x_BCHW)).mean((2, 3)))
        return logits_BK


def _stage(before: int, width: int, stride: int, options: WideOptions) -> WideStage:
    first = WideBlock(before, width, stride, options.drop_rate)
    rest = [WideBlock(width, width, 1, options.drop_rate) for _ in range((options.depth - 4) // 6 - 1)]
    return WideStage([first, *rest])


def knows(name: str) -> bool:
    return name == NAME


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    return WideResNet(spec.num_classes, input.channels, WideOptions.model_validate(spec.options))


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return USUAL


def entries() -> Iterator[CatalogueEntry]:
    summary = "Wide residual network of small images (Zagoruyko & Komodakis 2016)."
    yield entry(NAME, summary, input=USUAL, options=WideOptions.model_json_schema())
