"""Attraction and dispersion of predictions, against plain numbers."""

import pytest
import torch

from worker.terms import neighbourhood
from worker.terms.neighbourhood import Bank

P_BK = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])


def test_attraction_is_the_sum_over_the_neighbours():
    """Yang et al. 2022, eq. 5: 0.9 · 1 + 0.9 · 0.5 + 0.1 · 0.5 for the first image."""
    near_BNK = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]])
    expected = -((0.9 + 0.45 + 0.05) + (0.8 + 0.2) + (0.5 + 0.5)) / 3
    assert neighbourhood.attraction(P_BK, near_BNK).item() == pytest.approx(expected)


def test_dispersion_leaves_an_image_and_itself_out():
    pairs = (0.9 * 0.2 + 0.1 * 0.8) + (0.9 * 0.5 + 0.1 * 0.5) + (0.2 * 0.5 + 0.8 * 0.5)
    assert neighbourhood.dispersion(P_BK).item() == pytest.approx(2 * pairs / 3)


def bank():
    """Four images, of which the second points as the first does, and is longer."""
    features_ND = torch.tensor([[1.0, 0.0], [9.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    return Bank(features_ND, torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.0, 1.0]]))


def test_near_is_by_cosine_and_no_image_is_its_own_neighbour():
    near_BNK = bank().near(torch.tensor([0, 3]), 2)
    assert near_BNK.tolist() == torch.tensor([[[0.8, 0.2], [0.3, 0.7]], [[0.3, 0.7], [0.8, 0.2]]]).tolist()
    assert bank().near(torch.tensor([0]), 9).shape == (1, 3, 2)


def test_what_was_seen_last_is_what_others_are_near_to():
    seen = bank()
    seen.renew(torch.tensor([3]), torch.tensor([[5.0, 0.1]]), torch.tensor([[0.6, 0.4]]))
    assert seen.near(torch.tensor([0]), 1)[0, 0].tolist() == pytest.approx([0.6, 0.4])
    again = bank()
    again.load_state_dict(seen.state_dict())
    assert torch.equal(again.near(torch.tensor([0]), 1), seen.near(torch.tensor([0]), 1))
