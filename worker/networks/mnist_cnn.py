"""`mnist_cnn`: the small network that DomainBed trains on rotated and coloured digits.

After Gulrajani & Lopez-Paz 2021, In search of lost domain generalization, appendix D: 3×3 convolutions to 64, 128
(every second pixel), 128 and 128 channels, each followed by ReLU and group norm of 8 groups; the mean over all places,
and one linear layer.  Names of the weights are those of DomainBed's `featurizer` and `classifier`.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry, refuse_options

NAME = "mnist_cnn"
# DomainBed's RotatedMNIST: values from 0 to 1 as they are.
USUAL = InputSpec(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,))
GROUPS = 8


class MnistFeaturizer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(128, 128, 3, padding=1)
        self.conv4 = nn.Conv2d(128, 128, 3, padding=1)
        self.bn0 = nn.GroupNorm(GROUPS, 64)
        self.bn1 = nn.GroupNorm(GROUPS, 128)
        self.bn2 = nn.GroupNorm(GROUPS, 128)
        self.bn3 = nn.GroupNorm(GROUPS, 128)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.bn0(self.conv1(x_BCHW).relu())
        x_BCHW = self.bn1(self.conv2(x_BCHW).relu())
        x_BCHW = self.bn2(self.conv3(x_BCHW).relu())
        features_BD: Tensor = self.bn3(self.conv4(x_BCHW).relu()).mean((2, 3))
        return features_BD


class MnistCnn(nn.Module):
    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.featurizer = MnistFeaturizer(channels)
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.classifier(self.featurizer(x_BCHW))
        return logits_BK


def knows(name: str) -> bool:
    return name == NAME


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    refuse_options(spec)
    return MnistCnn(spec.num_classes, input.channels)


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return USUAL


def entries() -> Iterator[CatalogueEntry]:
    yield entry(NAME, "DomainBed's network for digits: four convolutions with group norm.", input=USUAL)
