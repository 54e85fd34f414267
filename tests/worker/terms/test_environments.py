"""What learning from several environments minimises, against autograd, closed forms and loops in NumPy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from worker.methods.generalisation.family import EnvironmentOutputs, EnvironmentTraining
from worker.methods.generalisation.group_dro import Reweighting
from worker.methods.generalisation.irm import penalty
from worker.methods.generalisation.penalised import MeanRisk, Penalty
from worker.terms.environments import irm_penalty, mix_style, moments_apart, reweighted, risk_variance, slope
from worker.training.protocols import Moment

CPU = torch.device("cpu")


def scored(rows=8, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(classes, (rows,), generator=generator)


def outputs(seeds=(0, 1, 2)):
    logits, labels = zip(*(scored(seed=seed) for seed in seeds), strict=True)
    names = [f"ds_{i}" for i in range(len(seeds))]
    risks = torch.stack([F.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)])
    features = {name: torch.zeros(8, 2) for name in names}  # nothing here looks at them
    return EnvironmentOutputs(
        dict(zip(names, logits, strict=True)), features, dict(zip(names, labels, strict=True)), risks
    )


def by_autograd(logits, y):
    """Arjovsky et al. 2019, appendix D, word for word."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    one = F.cross_entropy(scale * logits[::2], y[::2])
    other = F.cross_entropy(scale * logits[1::2], y[1::2])
    [first] = torch.autograd.grad(one, scale, create_graph=True)
    [second] = torch.autograd.grad(other, scale, create_graph=True)
    return first * second


def test_irm_penalty_and_its_gradient_are_those_of_a_double_autograd():
    logits, y = scored()
    ours, theirs = irm_penalty(logits, y), by_autograd(logits, y)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    [gradient], [expected] = (torch.autograd.grad(value, logits) for value in (ours, theirs))
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)


def test_two_classes_have_a_closed_form():
    """Of a margin m on the right class the slope is −m·σ(−m)."""
    margin = 0.7
    logits = torch.tensor([[margin, 0.0]], dtype=torch.float64)
    closed = -margin / (1 + math.exp(margin))
    assert slope(logits, torch.tensor([0])).item() == pytest.approx(closed, rel=1e-9)


def test_irm_penalty_is_zero_where_the_scale_is_the_best():
    """Three of four right at a margin m: the risk is least over m at log 3, where the slope is 0."""
    logits = torch.tensor([[math.log(3), 0.0]] * 8, dtype=torch.float64)
    y = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    assert irm_penalty(logits, y).item() == pytest.approx(0, abs=1e-12)


def test_irm_goes_over_the_environments():
    batch = outputs()
    expected = np.mean([by_autograd(batch.logits[name], batch.labels[name]).item() for name in batch.logits])
    assert penalty(batch).item() == pytest.approx(expected, rel=1e-5)


def test_risk_variance_is_numpys():
    risk = torch.tensor([0.3, 0.9, 0.4], dtype=torch.float64)
    assert risk_variance(risk).item() == pytest.approx(np.var(risk.numpy()), rel=1e-9)
    assert torch.autograd.gradcheck(risk_variance, (risk.requires_grad_(),))


@pytest.mark.parametrize(("step", "weight"), [(0, 1.0), (4, 1.0), (5, 10.0), (9, 10.0)])
def test_the_penalty_gets_its_weight_at_the_turn(step, weight):
    batch = outputs()
    found = Penalty(EnvironmentTraining(3, 5, CPU), 10.0, lambda outputs: risk_variance(outputs.risk_E))(
        batch, Moment(step, 0, 0.0)
    )
    risks = batch.risk_E.detach().numpy()
    assert found["loss"].item() == pytest.approx((risks.mean() + weight * risks.var()) / weight, rel=1e-6)
    assert MeanRisk(EnvironmentTraining(3, 0, CPU))(batch, Moment(step, 0, 0.0))["loss"].item() == pytest.approx(
        risks.mean()
    )


def test_group_dro_by_hand():
    weights = reweighted(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 3.0]), 0.5)
    high = math.exp(0.5 * (3.0 - 1.0))
    assert weights.tolist() == pytest.approx([1 / (1 + high), high / (1 + high)], rel=1e-6)


def test_group_dro_remembers_its_weights():
    batch = outputs()
    whole, first = (Reweighting(EnvironmentTraining(3, 0, CPU), 0.5) for _ in range(2))
    for step in range(3):
        loss = whole(batch, Moment(step, 0, 0.0))["loss"]
    risks = batch.risk_E.detach().numpy()
    weights = np.exp(0.5 * 3 * risks) / np.exp(0.5 * 3 * risks).sum()
    assert loss.item() == pytest.approx((weights * risks).sum(), rel=1e-5)
    for step in range(2):
        first(batch, Moment(step, 0, 0.0))
    second = Reweighting(EnvironmentTraining(3, 0, CPU), 0.5)
    second.load_state_dict(first.state_dict())
    assert second(batch, Moment(2, 0, 0.0))["loss"].item() == loss.item()


def test_mixed_styles_have_the_mixed_moments_and_the_old_content():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.float64) * 2 + 1
    partner, share = torch.tensor([1, 2, 3, 0]), torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    mixed = mix_style(x, partner, share)
    for b in range(4):
        for c in range(3):
            mean = share[b] * x[b, c].mean() + (1 - share[b]) * x[partner[b], c].mean()
            std = share[b] * x[b, c].std(correction=0) + (1 - share[b]) * x[partner[b], c].std(correction=0)
            assert mixed[b, c].mean().item() == pytest.approx(mean.item(), rel=1e-5)
            assert mixed[b, c].std(correction=0).item() == pytest.approx(std.item(), rel=1e-5)
            correlation = np.corrcoef(mixed[b, c].flatten(), x[b, c].flatten())[0, 1]
            assert correlation == pytest.approx(1)
    torch.testing.assert_close(mixed[3], x[3])


def test_no_gradient_goes_through_styles():
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    mixed = mix_style(x, torch.tensor([1, 0]), torch.zeros(2, dtype=torch.float64))
    mixed[0].sum().backward()
    scale = (x[1].std(correction=0) / x[0].std(correction=0)).item()
    torch.testing.assert_close(x.grad[0], torch.full_like(x.grad[0], scale), rtol=1e-4, atol=0)
    assert x.grad[1].abs().sum() == 0


def test_a_linear_network_learns_the_invariant_feature_under_irm():
    """Two features: one predicts with the same noise everywhere, the other better, but not equally so."""
    generator = torch.Generator().manual_seed(0)
    environments = []
    for agree in (0.95, 0.75):
        y = torch.randint(2, (1000,), generator=generator)
        sign = 2.0 * y - 1
        features = [sign * (2.0 * (torch.rand(1000, generator=generator) < p) - 1) for p in (0.75, agree)]
        environments.append((torch.stack(features, 1), y))
    weights = {}
    for name, strength in (("erm", 0.0), ("irm", 1000.0)):
        linear = nn.Linear(2, 2)
        nn.init.normal_(linear.weight, generator=generator)
        optimiser = torch.optim.Adam(linear.parameters(), lr=0.1)
        for _ in range(300):
            scores = [(linear(x), y) for x, y in environments]
            risk = torch.stack([F.cross_entropy(z, y) for z, y in scores]).mean()
            held = torch.stack([irm_penalty(z, y) for z, y in scores]).mean()
            optimiser.zero_grad()
            ((risk + strength * held) / max(1.0, strength)).backward()
            optimiser.step()
        weight = (linear.weight[1] - linear.weight[0]).detach()
        weights[name] = (weight[1] / weight[0]).item()
    assert weights["erm"] > 1
    assert abs(weights["irm"]) < 0.5


def test_moments_apart_against_numpy():
    random = np.random.default_rng(0)
    features = [random.normal(k, 1 + k, (9 + k, 5)) for k in range(3)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    means = [((features[i].mean(0) - features[j].mean(0)) ** 2).mean() for i, j in pairs]
    covariances = [((np.cov(features[i].T) - np.cov(features[j].T)) ** 2).mean() for i, j in pairs]
    found = moments_apart([torch.from_numpy(x) for x in features])
    assert found.item() == pytest.approx(np.mean(means) + np.mean(covariances), rel=1e-9)


def test_moments_apart_is_zero_for_environments_that_are_alike_and_draws_others_together():
    x = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert moments_apart([x, x.flip(0), x]).item() == pytest.approx(0, abs=1e-12)
    moved = (x + 2).requires_grad_()
    moments_apart([x, moved]).backward()
    assert (moved.grad.sum(0) > 0).all()  # a step down the gradient takes it back
