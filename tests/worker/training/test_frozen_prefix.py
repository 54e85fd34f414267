"""Networks of many kinds, cut where what is frozen ends."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import build
from worker.networks.structure import Structure
from worker.training import halves
from worker.training.freezing import Except, Freezer

INPUT = InputSpec(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
X = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def built(name):
    torch.manual_seed(0)
    network = build.build(NetworkSpec(name=name, num_classes=10), INPUT)
    return network, Structure.of(network, INPUT)


@pytest.mark.parametrize(
    ("name", "edge"),
    [
        ("cnn3", (1024,)),
        ("torchvision/resnet18", (256, 4, 4)),
        ("torchvision/densenet121", (512, 2, 2)),
        ("torchvision/vgg11", (4096,)),
        ("torchvision/efficientnet_b0", (320, 2, 2)),
        ("timm/resnet18", (256, 4, 4)),
        ("timm/convnext_atto", (160, 4, 4)),
    ],
)
def test_the_halves_are_the_whole_while_the_last_stage_trains(name, edge):
    network, structure = built(name)
    last = structure.last(1)
    cut = halves.cut(network, last, X[:2])
    Freezer(network).train(last)
    before = cut.before(X)
    assert before.shape == (len(X), *edge)
    assert not before.requires_grad
    torch.manual_seed(1)
    whole = network(X)
    torch.manual_seed(1)
    torch.testing.assert_close(cut.after(before), whole, rtol=1e-4, atol=1e-4)
    whole.sum().backward()
    learning = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, _ in network.named_parameters() if name.startswith(tuple(last))}


def test_all_but_some_modules():
    network, _ = built("torchvision/resnet18")
    cut = halves.cut(network, Except(["conv1", "bn1", "layer1"]), X[:2])
    assert cut.edge.startswith("layer1")
    assert halves.cut(network, Except(["layer2"]), X[:2]) is None  # what is before it learns


def test_the_network_is_left_as_it_was():
    network, structure = built("torchvision/resnet18")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    halves.cut(network, structure.last(1), X[:2])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


class Skipping(nn.Module):
    """What is frozen reaches the last layer on two ways, or is dropped outside any module."""

    def __init__(self, *, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(F.relu(x)) + x if self.skip else F.dropout(self.second(x), 0.5, self.training)
        return self.head(y.mean((2, 3)))


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 4), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.mean((2, 3)))
        return self.head(x if x.sum() > 0 else -x)


@pytest.mark.parametrize("network", [Skipping(skip=True), Skipping(skip=False), Deciding()])
def test_what_cannot_be_cut_at_one_tensor_is_left_whole(network):
    assert halves.cut(network, ["second", "head"] if hasattr(network, "second") else ["head"], X[:2]) is None


def test_without_anything_frozen_there_is_no_edge():
    network, _ = built("cnn3")
    assert halves.cut(network, None, X[:2]) is None
    assert halves.cut(network, [name for name, _ in network.named_children()], X[:2]) is None
