"""What learning from images alone minimises, against independent computations: loops in NumPy, and by hand."""

import math

import numpy as np
import pytest
import torch

from worker.data import views
from worker.methods.self_supervised.byol import decay
from worker.terms.views import covariance, foretold, invariance, nt_xent, variance, vicreg
from worker.training import neighbours
from worker.training.features import Features


def pair(rows=7, dimensions=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, dimensions, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_equation_1(temperature):
    one, two = pair()
    rows = np.concatenate([one.numpy(), two.numpy()])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    losses = []
    for i in range(14):
        partner = (i + 7) % 14
        others = [math.exp(rows[i] @ rows[k] / temperature) for k in range(14) if k != i]
        losses.append(-math.log(math.exp(rows[i] @ rows[partner] / temperature) / sum(others)))
    assert nt_xent(one, two, temperature).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_nt_xent_is_least_where_views_agree_and_images_do_not():
    apart = torch.eye(4, dtype=torch.float64)
    closed = math.log(1 + 6 * math.exp(-1 / 0.5))
    assert nt_xent(apart, apart, 0.5).item() == pytest.approx(closed, rel=1e-9)
    assert nt_xent(apart, apart.roll(1, 0), 0.5).item() > closed
    assert nt_xent(torch.ones(4, 3), torch.ones(4, 3), 0.5).item() == pytest.approx(math.log(7), rel=1e-6)


def test_vicreg_parts_are_the_papers():
    one, two = pair()
    a, b = one.numpy(), two.numpy()
    assert invariance(one, two).item() == pytest.approx(((a - b) ** 2).mean(), rel=1e-5)
    std = np.sqrt(a.var(axis=0, ddof=1) + 1e-4)
    assert variance(one).item() == pytest.approx(np.maximum(0, 1 - std).mean(), rel=1e-5)
    cov = np.cov(a, rowvar=False)
    off = sum(cov[i, j] ** 2 for i in range(5) for j in range(5) if i != j) / 5
    assert covariance(one).item() == pytest.approx(off, rel=1e-5)


def test_vicreg_is_the_authors_loss():
    """A mean of the views' variance terms, but a sum of their covariance terms, by loops."""
    one, two = (0.3 * view for view in pair())

    def alive(z_BD):
        return sum(max(0.0, 1 - math.sqrt(z_BD[:, d].var(ddof=1) + 1e-4)) for d in range(5)) / 5

    def apart(z_BD):
        cov_DD = np.cov(z_BD, rowvar=False)
        return sum(cov_DD[i, j] ** 2 for i in range(5) for j in range(5) if i != j) / 5

    a, b = one.numpy(), two.numpy()
    found = [value.item() for value in vicreg(one, two)]
    assert alive(a) > 0.1
    assert found == pytest.approx([((a - b) ** 2).mean(), (alive(a) + alive(b)) / 2, apart(a) + apart(b)], rel=1e-6)


def test_a_collapsed_projection_costs_variance_and_has_a_finite_slope():
    flat = torch.ones(6, 3, dtype=torch.float64, requires_grad=True)
    value = variance(flat)
    value.backward()
    assert value.item() == pytest.approx(1 - 0.01)
    assert torch.isfinite(flat.grad).all()


def test_foretelling_is_equation_2_and_moves_the_prediction_alone():
    one, two = (tensor.requires_grad_() for tensor in pair())
    value = foretold(one, two)
    value.backward()
    a, b = one.detach().numpy(), two.detach().numpy()
    unit_a, unit_b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    assert value.item() == pytest.approx(((unit_a - unit_b) ** 2).sum(1).mean(), rel=1e-5)
    assert one.grad.abs().sum() > 0
    assert two.grad is None


@pytest.mark.parametrize("value", [nt_xent, lambda one, two, _: covariance(one) + variance(two * 0.3)])
def test_gradients_agree_with_finite_differences(value):
    one, two = (tensor.requires_grad_() for tensor in pair(rows=4, dimensions=3))
    assert torch.autograd.gradcheck(lambda x, y: value(x, y, 0.5), (one, two))


def test_the_averaged_copy_follows_ever_more_slowly():
    assert decay(0.99, 0.0) == pytest.approx(0.99)
    assert decay(0.99, 0.5) == pytest.approx(0.995)
    assert decay(0.99, 1.0) == pytest.approx(1.0)


def test_quarter_turns_are_numpys():
    x_BCHW = torch.randint(0, 256, (3, 2, 4, 4), dtype=torch.uint8)
    turned = views.quarter_turns(x_BCHW)
    for turns in range(4):
        assert np.array_equal(turned[3 * turns : 3 * turns + 3].numpy(), np.rot90(x_BCHW.numpy(), turns, axes=(2, 3)))


def test_neighbours_vote_as_a_loop_does():
    generator = torch.Generator().manual_seed(1)
    known = Features(torch.randn(40, 6, generator=generator), torch.randint(0, 3, (40,), generator=generator))
    asked = torch.randn(25, 6, generator=generator)
    expected = []
    for row in asked.numpy():
        cosine = [float(row @ k / np.linalg.norm(row) / np.linalg.norm(k)) for k in known.x_ND.numpy()]
        votes = np.zeros(3)
        for place in np.argsort(cosine)[::-1][:7]:
            votes[known.label_N[place]] += math.exp(cosine[place] / 0.07)
        expected.append(int(votes.argmax()))
    assert neighbours.vote(known, asked, 3, k=7).tolist() == expected
    assert neighbours.vote(known, asked, 3, k=1000).shape == (25,)
