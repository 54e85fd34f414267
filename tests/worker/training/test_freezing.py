import pytest
import torch
from torch import nn

from worker.training import freezing
from worker.training.freezing import Freezer


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def some_steps(net: nn.Module) -> None:
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(8, 1, 5, 5)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("trainable", [["3"], ["1", "3"], ["1.1", "3"]])
def test_what_is_frozen_changes_in_no_bit(trainable):
    """Trap 5: neither by gradient, nor by weight decay, nor by batch norm's running statistics."""
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    Freezer(net).train(trainable)
    some_steps(net)
    frozen = freezing.entries(net, trainable)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name in frozen), name


def test_without_freezing_all_change():
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    Freezer(net).train(None)
    some_steps(net)
    assert not freezing.entries(net, None)
    assert not any(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_frozen_dropout_is_off():
    net = network()
    Freezer(net).train(["3"])
    assert not net[0][2].training
    Freezer(net).train(None)
    assert net[0][2].training


def test_thawing_gives_back_what_learned_before_and_no_more():
    net = network()
    net[1][0].bias.requires_grad_(False)
    freezer = Freezer(net)
    freezer.train(["3"])
    freezer.train(None)
    learning = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in net.named_parameters()} - {"1.0.bias"}


def test_mode_is_set_again_after_an_evaluation():
    net = network()
    freezer = Freezer(net)
    for _ in range(2):
        freezer.train(["1", "3"])
        assert not net[0][1].training
        assert net[1][1].training
        net.eval()


def test_an_unknown_module_is_named():
    with pytest.raises(ValueError, match="'layer9'"):
        Freezer(network()).train(["layer9"])
