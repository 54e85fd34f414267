import math

import pytest
import torch
from torch import nn

from worker.engine.optimise import Optimiser, Recipe, groups, schedule


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.head = nn.Linear(2, 3)


def factor(name: str) -> float:
    return 1.0 if name.startswith("head") else 0.1


def optimiser(kind="sgd", plan="cosine", warmup=0, weight_decay=0.1, learning_rate=0.5):
    network = Network()
    recipe = Recipe(kind, learning_rate, weight_decay=weight_decay)
    return network, Optimiser(groups(network, factor, weight_decay), recipe, schedule(plan, 10, warmup))


def test_norms_and_biases_do_not_decay():
    decay = {name: group["weight_decay"] for group in groups(Network(), factor, 0.1) for name in group["names"]}
    assert decay == {
        "body.0.weight": 0.1,
        "body.0.bias": 0.0,
        "body.1.weight": 0.0,
        "body.1.bias": 0.0,
        "head.weight": 0.1,
        "head.bias": 0.0,
    }


def test_a_shared_tensor_is_taken_once():
    network = Network()
    network.tied = network.head
    assert sum(len(group["params"]) for group in groups(network, factor, 0.1)) == 6


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("plan", ["cosine", "step", "constant"])
def test_effective_rate_is_base_times_factor_times_schedule(kind, plan):
    """Trap 7: a factor that is applied twice would give lr²."""
    _network, optimise = optimiser(kind, plan, warmup=3)
    for step in range(10):
        optimise.step(step)
        for group in optimise.param_groups:
            for name in group["names"]:
                assert group["lr"] == pytest.approx(0.5 * factor(name) * schedule(plan, 10, 3)(step))


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_a_step_moves_a_weight_by_the_effective_rate(rate):
    network, optimise = optimiser(plan="constant", weight_decay=0.0, learning_rate=rate)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimise.prepare()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimise.step(0)
    nesterov = 1.9  # the first step of nesterov momentum 0.9 with a constant gradient
    for name, parameter in network.named_parameters():
        moved = before[name] - parameter.detach()
        torch.testing.assert_close(moved, torch.full_like(moved, rate * factor(name) * nesterov))


def test_schedules():
    cosine, step, constant = (schedule(kind, 100, 0) for kind in ("cosine", "step", "constant"))
    assert cosine(0) == 1
    assert cosine(50) == pytest.approx(0.5)
    assert 0 < cosine(99) < 0.001
    assert [step(at) for at in (0, 49, 50, 74, 75, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert {constant(at) for at in range(100)} == {1}


def test_warm_up_is_linear_and_the_rest_follows():
    warmed = schedule("cosine", 110, 10)
    assert [warmed(at) for at in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1])
    assert warmed(10) == 1
    assert warmed(60) == pytest.approx(0.5)
    assert all(math.isfinite(schedule("cosine", 5, 10)(at)) for at in range(12))


def test_parameters_without_gradient_do_not_decay():
    """Trap 5: weight decay must not shrink what is frozen."""
    network, optimise = optimiser(weight_decay=1.0)
    before = network.head.weight.detach().clone()
    optimise.step(0)
    assert torch.equal(network.head.weight, before)


def test_parameters_that_thaw_late_join_their_group():
    network, optimise = optimiser("sgd")
    reference = torch.optim.SGD(
        [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in optimise.param_groups]
    )
    assert len(reference.param_groups) == len(optimise.param_groups)
    network.body.requires_grad_(False)
    for step in range(4):
        network.body.requires_grad_(step >= 2)
        optimise.prepare()
        optimise.zero_grad()
        network.head(network.body(torch.randn(4, 1, 5, 5)).mean((2, 3))).square().sum().backward()
        before = network.body[0].weight.detach().clone()
        optimise.step(step)
        assert torch.equal(before, network.body[0].weight) == (step < 2)
