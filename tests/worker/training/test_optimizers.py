import copy
import math

import pytest
import timm
import torch
import torchvision
from torch import nn

from app.methods.training import Schedule
from worker.training import schedules
from worker.training.optimizers import Optimiser, groups


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.head = nn.Linear(2, 3)


def factor(name: str) -> float:
    return 1.0 if name.startswith("head") else 0.1


def optimiser(kind="sgd", plan="cosine", warmup=0, weight_decay=0.1, learning_rate=0.5):
    network = Network()
    schedule = Schedule(epochs=1, batch_size=1, learning_rate=learning_rate, weight_decay=weight_decay, optimizer=kind)
    return network, Optimiser(groups(network, factor, weight_decay), schedule, schedules.factor(plan, 10, warmup))


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


UNDECAYED = {
    "torchvision/vit_b_16": {"class_token", "encoder.pos_embedding"},
    "torchvision/convnext_tiny": {"features.1.0.layer_scale", "features.7.2.layer_scale"},
    "torchvision/swin_t": {"features.1.0.attn.relative_position_bias_table"},
    "timm/vit_tiny_patch16_224": {"cls_token", "pos_embed"},
    "timm/deit_tiny_distilled_patch16_224": {"cls_token", "dist_token", "pos_embed"},
    "timm/swin_tiny_patch4_window7_224": {"layers.0.blocks.0.attn.relative_position_bias_table"},
    "timm/levit_128s": {"stages.0.blocks.0.attn.attention_biases"},
    "timm/resnet10t": set(),
}


@pytest.mark.parametrize("name", UNDECAYED)
def test_embeddings_and_layer_scales_do_not_decay_and_layers_do(name):
    """Against what timm's networks say themselves; every linear layer's and convolution's weight decays."""
    source, _, architecture = name.partition("/")
    build = timm.create_model if source == "timm" else torchvision.models.get_model
    with torch.device("meta"):
        network = build(architecture)
    decay = {name: group["weight_decay"] for group in groups(network, factor, 0.1) for name in group["names"]}
    told = set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()
    undecayed = {name for name, value in decay.items() if value == 0.0}
    assert (UNDECAYED[name] | told) & set(decay) <= undecayed
    for path, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert decay[f"{path}.weight"] == 0.1
    layers = {f"{path}.weight" for path, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    attention = {name for name in decay if name.endswith("in_proj_weight")}
    assert set(decay) - undecayed == layers | attention


def test_looked_up_embeddings_do_not_decay():
    [group] = groups(nn.Embedding(3, 4), factor, 0.1)
    assert group["weight_decay"] == 0.0


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("most", [None, 0.1, 1e3])
def test_a_gradient_is_shortened_as_by_pytorch(kind, most):
    """All groups together, by their common norm; one that is short enough stays as it is."""
    torch.manual_seed(0)
    ours = Network()
    theirs = copy.deepcopy(ours)
    schedule = Schedule(
        epochs=1,
        batch_size=1,
        learning_rate=0.1,
        weight_decay=0.0,
        optimizer=kind,
        momentum=0.0,
        max_gradient_norm=most,
    )
    optimise = Optimiser(groups(ours, lambda name: 1.0, 0.0), schedule, schedules.factor("constant", 3))
    reference = (torch.optim.SGD if kind == "sgd" else torch.optim.AdamW)(theirs.parameters(), lr=0.1, weight_decay=0.0)
    for step in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine) * (step + 1)
            other.grad = mine.grad.clone()
        optimise.step(step)
        if most is not None:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), most)
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


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
                assert group["lr"] == pytest.approx(0.5 * factor(name) * schedules.factor(plan, 10, 3)(step))


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
    cosine, step, constant = (schedules.factor(kind, 100, 0) for kind in ("cosine", "step", "constant"))
    assert cosine(0) == 1
    assert cosine(50) == pytest.approx(0.5)
    assert 0 < cosine(99) < 0.001
    assert [step(at) for at in (0, 49, 50, 74, 75, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert {constant(at) for at in range(100)} == {1}


def test_warm_up_is_linear_and_the_rest_follows():
    warmed = schedules.factor("cosine", 110, 10)
    assert [warmed(at) for at in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1])
    assert warmed(10) == 1
    assert warmed(60) == pytest.approx(0.5)
    assert all(math.isfinite(schedules.factor("cosine", 5, 10)(at)) for at in range(12))


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
