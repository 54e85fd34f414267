"""What predictions say of themselves, against closed forms, SciPy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import cosine_distances

from worker.terms import information, pseudo_labels


def logits(seed=0, images=50, classes=6):
    return torch.randn(images, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def test_information_of_predictions_in_closed_form():
    """Each image surely of one class, and all classes alike: H(p) is 0 and H of the mean is log K."""
    sure_BK = torch.eye(4, dtype=torch.float64).repeat(3, 1) * 1000
    assert float(information.entropy(sure_BK).mean()) == pytest.approx(0, abs=1e-9)
    assert float(information.diversity(sure_BK)) == pytest.approx(math.log(4))
    assert float(information.diversity(sure_BK[:1])) == pytest.approx(0, abs=1e-9)
    assert information.entropy(torch.zeros(3, 5)).tolist() == pytest.approx([math.log(5)] * 3)


def test_entropy_and_diversity_against_scipy():
    logits_BK = logits()
    p_BK = np.exp(logits_BK.numpy()) / np.exp(logits_BK.numpy()).sum(1, keepdims=True)
    np.testing.assert_allclose(information.entropy(logits_BK), scipy_entropy(p_BK, axis=1), rtol=1e-9)
    assert float(information.diversity(logits_BK)) == pytest.approx(scipy_entropy(p_BK.mean(0)))
    places = [1, 4, 5]  # SciPy scales to a sum of 1 itself
    found = float(information.diversity(logits_BK, torch.tensor(places)))
    assert found == pytest.approx(scipy_entropy(p_BK.mean(0)[places]))


def test_gradients_are_finite_where_a_class_is_never_predicted():
    logits_BK = torch.tensor([[1000.0, 0.0, -1000.0]] * 4, requires_grad=True)
    (information.entropy(logits_BK).mean() - information.diversity(logits_BK)).backward()
    assert torch.isfinite(logits_BK.grad).all()


def test_gradients_by_finite_differences():
    logits_BK = logits(images=5, classes=4).requires_grad_(True)
    assert torch.autograd.gradcheck(information.entropy, logits_BK)
    assert torch.autograd.gradcheck(lambda z: information.diversity(z, torch.tensor([0, 2])), logits_BK)


def reference(features_ND, p_NK):
    """Eq. 4 to 6 image by image, with scikit-learn's cosine distance."""
    unit_ND = features_ND / np.linalg.norm(features_ND, axis=1, keepdims=True)
    weighted_KD = np.array([np.average(unit_ND, axis=0, weights=p_NK[:, k]) for k in range(p_NK.shape[1])])
    first_N = cosine_distances(features_ND, weighted_KD).argmin(1)
    there = sorted(set(first_N.tolist()))
    mean_KD = np.array([unit_ND[first_N == k].mean(0) for k in there])
    return np.array(there)[cosine_distances(features_ND, mean_KD).argmin(1)]


@pytest.mark.parametrize("seed", range(5))
def test_pseudo_labels_against_another_implementation(seed):
    features_ND, p_NK = logits(seed, 80, 7).exp(), logits(seed + 100, 80, 5).softmax(1)
    found_N = pseudo_labels.assign(features_ND, p_NK)
    assert found_N.tolist() == reference(features_ND.numpy(), p_NK.numpy()).tolist()


def test_a_class_that_takes_in_nothing_is_no_centroid():
    """Nothing is nearest to the third class: its mean is between the two others."""
    features_ND = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4)
    p_NK = torch.tensor([[0.8, 0.0, 0.2]] * 4 + [[0.0, 0.8, 0.2]] * 4)
    assert pseudo_labels.assign(features_ND, p_NK).tolist() == [0] * 4 + [1] * 4


def test_only_the_targets_classes_are_in_question():
    features_ND, p_NK = logits(1, 60, 7).exp(), logits(2, 60, 5).softmax(1)
    places = torch.tensor([0, 3])
    found_N = pseudo_labels.assign(features_ND, p_NK, places)
    assert set(found_N.tolist()) == {0, 3}
    expected_N = reference(features_ND.numpy(), p_NK[:, places].numpy())
    assert found_N.tolist() == places[torch.from_numpy(expected_N)].tolist()


def test_pseudo_labels_mend_predictions_that_are_wrong_at_the_border():
    """Two clusters on a circle; a fifth of the predictions are of the other: k-means on the same finds them again."""
    random = np.random.default_rng(0)
    truth_N = np.repeat([0, 1], 100)
    angle_N = np.where(truth_N, 1.2, 0.3) + random.normal(0, 0.1, 200)
    features_ND = np.stack((np.cos(angle_N), np.sin(angle_N)), axis=1)
    wrong_N = random.random(200) < 0.2
    p_NK = np.where((truth_N ^ wrong_N)[:, None] == np.arange(2), 0.9, 0.1)
    found_N = pseudo_labels.assign(torch.from_numpy(features_ND), torch.from_numpy(p_NK)).numpy()
    clusters_N = KMeans(2, n_init=5, random_state=0).fit_predict(features_ND)
    assert (found_N == truth_N).mean() > 0.99 > 0.85 > (p_NK.argmax(1) == truth_N).mean()
    assert max((found_N == clusters_N).mean(), (found_N != clusters_N).mean()) > 0.99
