"""`cnn3`: three convolutions and three linear layers, for small images.

3×3 convolutions to 32, 64 and 128 channels, each followed by ReLU and 2×2 max-pooling; then linear layers of 1024, 512
and one output a class.  A 32×32 image comes to 128·4·4 features; other sizes, of 8×8 pixels at least, and grey images
work as well.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry, refuse_options

NAME = "cnn3"
USUAL = InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


class Cnn3(nn.Module):
    def __init__(self, num_classes: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.fc1 = nn.Linear(128 * (height // 8) * (width // 8), 1024)
        self.fc2 = nn.Linear(1024, 512)
        self.fc3 = nn.Linear(512, num_classes)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x_BCHW = self.pool(conv(x_BCHW).relu())
        x_BD = self.fc1(x_BCHW.flatten(1)).relu()
        logits_BK: Tensor = self.fc3(self.fc2(x_BD).relu())
        return logits_BK


def knows(name: str) -> bool:
    return name == NAME


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    refuse_options(spec)
    if min(input.size) < 8:
        raise ValueError("three poolings leave nothing of it")
    return Cnn3(spec.num_classes, input.channels, *input.size)


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return USUAL


def entries() -> Iterator[CatalogueEntry]:
    yield entry(NAME, "Three convolutions and three linear layers, for small images.", input=USUAL)
