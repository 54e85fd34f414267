"""Which predictions are learnt from, against the formulas of Niu et al. 2022 written out image by image."""

import math

import pytest
import torch

from worker.terms import information, reliable
from worker.terms.reliable import Falling, Seen

K = 4
MARGIN = 0.4 * math.log(K)


def by_hand(p_BK, mean_K, cosine):
    """Eq. 2 to 6 for plain lists: the loss on sure and new predictions, and the average that they leave."""
    entropies, taken = [], []
    for p_K in p_BK:
        entropy = -sum(p * math.log(p) for p in p_K)
        length = math.sqrt(sum(p * p for p in p_K)) * math.sqrt(sum(m * m for m in mean_K))
        alike = sum(p * m for p, m in zip(p_K, mean_K, strict=True)) / length
        if entropy < MARGIN and alike < cosine:
            entropies.append(entropy / math.exp(entropy - MARGIN))
            taken.append(p_K)
    loss = sum(entropies) / len(entropies)
    now_K = [sum(column) / len(taken) for column in zip(*taken, strict=True)]
    return loss, len(taken), [0.9 * m + 0.1 * n for m, n in zip(mean_K, now_K, strict=True)]


def test_the_loss_and_the_average_are_those_of_the_paper():
    logits_BK = 3 * torch.randn(60, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first_BK = torch.tensor([[0.94, 0.02, 0.02, 0.02], [0.9, 0.04, 0.03, 0.03]], dtype=torch.float64)
    p_BK, seen = logits_BK.softmax(1), Seen()
    assert seen.new(first_BK, 0.1).all()
    seen.add(first_BK)
    loss, count, mean_K = by_hand(p_BK.tolist(), first_BK.mean(0).tolist(), 0.6)
    entropy_B = information.entropy(logits_BK)
    weight_B = reliable.weights(entropy_B, MARGIN)
    taken_B = (weight_B > 0) & seen.new(p_BK, 0.6)
    assert 5 < count == int(taken_B.sum()) < int((weight_B > 0).sum()) < 60
    assert reliable.mean(weight_B * entropy_B, taken_B).item() == pytest.approx(loss)
    seen.add(p_BK[taken_B])
    assert seen.state_dict()["mean"].tolist() == pytest.approx(mean_K)


def test_the_weight_has_no_gradient():
    """The authors hold it constant: else its own slope, −exp(E₀ − H), would turn the step round where H > 1."""
    logits_BK = torch.tensor([[4.0, 0.0, 0.0, 0.0]], requires_grad=True)
    entropy_B = information.entropy(logits_BK)
    weight_B = reliable.weights(entropy_B, MARGIN)
    assert weight_B.item() == pytest.approx(math.exp(MARGIN - entropy_B.item()))
    assert not weight_B.requires_grad


def test_where_nothing_is_taken_nothing_moves():
    logits_BK = torch.zeros(3, K, requires_grad=True)
    entropy_B = information.entropy(logits_BK)
    weight_B = reliable.weights(entropy_B, MARGIN)
    loss = reliable.mean(weight_B * entropy_B, weight_B > 0)
    loss.backward()
    assert loss.item() == 0
    assert not logits_BK.grad.any()
    seen = Seen()
    seen.add(logits_BK.softmax(1)[:0])
    assert seen.state_dict() == {"mean": None}


def test_a_falling_loss_is_told_once_and_watched_anew():
    """The average of 1, 0.2, 0 is 0.9² + 0.09 · 0.2 = 0.828."""
    falling = Falling(0.83)
    found = []
    for loss in (1.0, 0.2, 0.0, 2.0, 0.1):
        falling.add(loss)
        found.append(falling.below())
    assert found == [False, False, True, False, False]
    again = Falling(0.83)
    again.load_state_dict(falling.state_dict())
    assert (again.times, again.below()) == (1, False)
