"""Equations of consistency between two views, against plain numbers."""

import math

import pytest
import torch

from worker.terms import consistency, self_adaptive
from worker.terms.self_adaptive import AdaptiveThreshold


def test_a_label_is_what_reaches_the_threshold_of_its_class():
    p_MK = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.25, 0.25, 0.5], [0.0, 0.4, 0.6]])
    pseudo = consistency.above(p_MK, torch.tensor([0.7, 0.65, 0.5]))
    assert pseudo.label_M.tolist() == [0, 1, 2, 2]
    assert pseudo.sure_M.tolist() == [True, False, True, True]
    assert float(pseudo.share) == 0.75


def test_the_loss_is_a_mean_over_all_images_to_which_the_unsure_add_nothing():
    """Sohn et al. 2020, eq. 4: of two images one is sure, of class 1, and its strong view says e/(e + 1) for it."""
    strong_MK = torch.tensor([[0.0, 1.0], [5.0, 0.0]], requires_grad=True)
    pseudo = consistency.PseudoLabels(torch.tensor([1, 0]), torch.tensor([True, False]))
    loss = consistency.loss(strong_MK, pseudo)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 1)) / 2)
    loss.backward()
    assert strong_MK.grad is not None
    assert strong_MK.grad[1].tolist() == [0, 0]
    assert strong_MK.grad[0, 0] > 0 > strong_MK.grad[0, 1]


def test_thresholds_follow_the_confidence_and_the_frequency_of_each_class():
    """Wang et al. 2023, sections 4.1 and 4.2, at a decay of 0.9: τ, p̃ and h̃ begin with 1/2."""
    adaptive = AdaptiveThreshold(2, 0.9, torch.device("cpu"))
    adaptive.update(torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2], [0.4, 0.6]]))
    assert adaptive.confidence.item() == pytest.approx(0.9 * 0.5 + 0.1 * 0.75)
    assert adaptive.probability_K.tolist() == pytest.approx([0.9 * 0.5 + 0.1 * 0.7, 0.9 * 0.5 + 0.1 * 0.3])
    assert adaptive.histogram_K.tolist() == pytest.approx([0.9 * 0.5 + 0.1 * 0.75, 0.9 * 0.5 + 0.1 * 0.25])
    assert adaptive.thresholds().tolist() == pytest.approx([0.525, 0.525 * 0.48 / 0.52])


def test_fairness_is_minus_the_cross_entropy_of_what_is_expected_with_what_the_sure_strong_views_give():
    """Of three images two are sure; their strong views have the mean probabilities 0.7 and 0.3, and each class is
    predicted of one of them."""
    adaptive = AdaptiveThreshold(2, 0.0, torch.device("cpu"))
    adaptive.update(torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2], [0.4, 0.6]]))  # p̃ 0.7, 0.3; h̃ 0.75, 0.25
    strong_MK = torch.tensor([[0.95, 0.05], [0.45, 0.55], [0.01, 0.99]]).log()
    pseudo = consistency.PseudoLabels(torch.tensor([0, 0, 1]), torch.tensor([True, True, False]))
    expected = torch.tensor([0.7 / 0.75, 0.3 / 0.25])
    expected = expected / expected.sum()
    plain = (expected * torch.tensor([0.7, 0.3]).log()).sum()
    assert self_adaptive.fairness(strong_MK, pseudo, adaptive).item() == pytest.approx(plain.item())


def test_a_class_that_no_sure_strong_view_is_of_has_no_part_and_without_a_sure_image_there_is_nothing():
    adaptive = AdaptiveThreshold(2, 0.9, torch.device("cpu"))
    strong_MK = torch.tensor([[2.0, 0.0], [1.0, 0.0]], requires_grad=True)
    for sure, value in ((True, 0.5 * math.log(1e-12)), (False, 0.0)):
        pseudo = consistency.PseudoLabels(torch.tensor([0, 0]), torch.tensor([sure, sure]))
        fairness = self_adaptive.fairness(strong_MK, pseudo, adaptive)
        assert fairness.item() == pytest.approx(value, rel=1e-4)
        [gradient] = torch.autograd.grad(fairness, strong_MK)
        assert torch.isfinite(gradient).all()
