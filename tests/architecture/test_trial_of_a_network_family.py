"""A made-up network family, written into a copy by the checklist, is listed, built, trained, resumed and exported."""

import pytest

from tests.architecture.trial import Copy, listed

FAMILY = '''"""`strider`: two strided convolutions, for small images."""

from collections.abc import Iterator

from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry, refuse_options

USUAL = InputSpec(size=(16, 16), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


class Strider(nn.Module):
    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, stride=2)
        self.second = nn.Conv2d(8, 16, 3, stride=2)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self.second(self.first(x_BCHW).relu()).relu().mean((2, 3)))
        return logits_BK


def knows(name: str) -> bool:
    return name == "strider"


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    refuse_options(spec)
    return Strider(spec.num_classes, input.channels)


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return USUAL


def entries() -> Iterator[CatalogueEntry]:
    yield entry("strider", "Two strided convolutions, for small images.", input=USUAL)
'''


@pytest.mark.slow
def test_the_suites_take_it_in(tmp_path):
    """They show what is built, where its head is, that it trains and resumes, and that the exported graph is alike."""
    copy = Copy.within(tmp_path / "copy")
    copy.write("worker/networks/strider.py", FAMILY)
    copy.insert("worker/networks/build.py", "    wide_resnet,\n)", "    strider,\n")
    copy.insert("worker/networks/build.py", "    layers,\n    grafted", "    strider,\n")
    copy.insert("docs/methods.md", "- `grafted`: ", "- `strider`: two convolutions of stride 2, then a linear layer.\n")
    suites = (
        "tests/worker/networks/test_build.py",
        "tests/worker/networks/test_catalogue.py",
        "tests/worker/networks/test_structure.py",
        "tests/worker/networks/test_training.py",
        "tests/worker/export/test_package.py",
    )
    assert copy.passed("strider or all_networks or are_documented", *suites) == 11
    assert copy.changed() == listed("network family", name="strider")
