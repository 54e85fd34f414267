"""Sharpness-aware steps, against the two gradients of Foret et al. 2021 taken by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from app.contract.inputs import InputSpec
from app.methods.training import Schedule
from worker.data import batches as data
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training.trainer import Trainer

CPU = torch.device("cpu")
SPEC = InputSpec(size=(4, 4), channels=1, mean=(0.5,), std=(0.25,))
COUNT, RATE, RHO = 12, 0.1, 0.3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 3))


def fit(folder, net, sharpness, epochs=1, micro=None):
    """One step an epoch, of all images; returns what the losses were, and whether they were of a second look."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (COUNT, 4, 4, 1), dtype=torch.uint8, generator=generator)
    images = data.Images(pixels, torch.randint(3, (COUNT,), generator=generator))
    run = Run(Recorder(), folder, seed=3)
    prepare = data.Prepare(SPEC, CPU, torch.contiguous_format)
    batches = data.image_batches(run, images, prepare=prepare, batch_size=COUNT)
    schedule = Schedule(
        epochs=epochs,
        batch_size=COUNT,
        learning_rate=RATE,
        weight_decay=0.0,
        momentum=0.0,
        scheduler="constant",
        sharpness=sharpness,
        divisible=micro is not None,
        micro_batch_size=micro,
    )
    looks = []

    def loss(batch, moment):
        value = F.cross_entropy(net(batch.x), batch.y_B)
        looks.append((moment.above, float(value.detach()), batch.x, batch.y_B))
        return {"loss": value}

    classifier = Classifier(net, Structure(("5",), (), 8, separable=True), SPEC, None)
    Trainer(run, classifier, schedule).fit(batches, loss)
    return looks


def test_a_step_follows_the_gradient_up_there(tmp_path):
    """Eq. 2 and 3: w ← w − α ∇L(w + ρ ∇L(w) / ‖∇L(w)‖), under the same dropout; the statistics are of w itself."""
    before, net = network(), network()
    torch.manual_seed(7)
    looks = fit(tmp_path, net, RHO)
    assert [above for above, *_ in looks] == [False, True]
    x, y_B = looks[0][2:]
    weights = {name: parameter.detach() for name, parameter in before.named_parameters()}
    kept = dict(before.named_buffers())

    def slope(at):
        at = {name: tensor.clone().requires_grad_() for name, tensor in at.items()}
        buffers = {name: tensor.clone() for name, tensor in kept.items()}
        torch.manual_seed(7)
        value = F.cross_entropy(functional_call(before, at | buffers, (x,)), y_B)
        return float(value.detach()), dict(zip(at, torch.autograd.grad(value, at.values()), strict=True)), buffers

    here, gradient, buffers = slope(weights)
    length = sum(float(g.square().sum()) for g in gradient.values()) ** 0.5
    there, up, _ = slope({name: weights[name] + RHO * gradient[name] / length for name in weights})
    assert [value for _, value, *_ in looks] == pytest.approx([here, there], rel=1e-5)
    assert there > here
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), weights[name] - RATE * up[name], rtol=1e-5, atol=1e-6)
    for name, buffer in net.named_buffers():
        torch.testing.assert_close(buffer, buffers[name])


def test_what_is_logged_is_the_loss_of_the_weights_themselves(tmp_path):
    plain, moved = network(), network()
    for net in (plain, moved):
        net[4].p = 0.0
    [first] = fit(tmp_path / "plain", plain, None)
    looks = fit(tmp_path / "moved", moved, RHO)
    assert looks[0][1] == pytest.approx(first[1])


def test_nothing_moves_where_there_is_no_gradient(tmp_path):
    net = network()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    net[5].bias.requires_grad_(False)
    fit(tmp_path, net, RHO, epochs=3)
    assert all(not parameter.any() for parameter in net.parameters())


def test_parts_of_a_batch_go_up_together(tmp_path):
    """The gradient is of the whole batch, both times; without batch norm, whose statistics are a part's."""
    whole, parts = network(), network()
    for net in (whole, parts):
        net[2], net[4] = nn.Identity(), nn.Identity()
    fit(tmp_path / "whole", whole, RHO, epochs=3)
    fit(tmp_path / "parts", parts, RHO, epochs=3, micro=4)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
