"""Label shift: shares of classes by expectation-maximisation, against another optimiser and against the truth."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from app.serving import label_shift

CLASSES = 10
SHIFTED = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01])


@pytest.fixture(scope="module")
def digits():
    """Probabilities of a classifier for digits that it has not seen, their labels, and its priors on others."""
    x_ND, y_N = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y_N))
    train, validation, test = np.split(order, [300, 700])
    learned = LogisticRegression(C=0.05, max_iter=3000).fit(x_ND[train], y_N[train])
    return learned.predict_proba(x_ND[test]), y_N[test], learned.predict_proba(x_ND[validation]).mean(0)


def drawn(label_N, count=600, seed=1):
    """Places of images whose classes have the shares of `SHIFTED`."""
    weight_N = SHIFTED[label_N] / np.bincount(label_N)[label_N]
    return np.random.default_rng(seed).choice(len(label_N), count, p=weight_N / weight_N.sum())


def by_gradient(p_NK, prior_K):
    """The shares of greatest likelihood by a quasi-Newton method on the simplex's logits."""

    def loss(z_K):
        share_K = np.exp(z_K - z_K.max())
        share_K /= share_K.sum()
        return -np.log((p_NK / prior_K) @ share_K).mean()

    z_K = minimize(loss, np.zeros(len(prior_K)), method="BFGS", options={"gtol": 1e-8}).x
    share_K = np.exp(z_K - z_K.max())
    return share_K / share_K.sum()


def test_the_estimate_is_the_likeliest(digits):
    p_NK, label_N, prior_K = digits
    shifted_NK = p_NK[drawn(label_N)]
    found_K = label_shift.estimate(shifted_NK, prior_K)
    np.testing.assert_allclose(found_K, by_gradient(shifted_NK, prior_K), atol=1e-4)
    assert found_K.sum() == pytest.approx(1)


def test_it_comes_near_the_truth_and_predictions_gain(digits):
    p_NK, label_N, prior_K = digits
    rows = drawn(label_N)
    truth_K = np.bincount(label_N[rows], minlength=CLASSES) / len(rows)
    found_K = label_shift.estimate(p_NK[rows], prior_K)
    assert np.abs(found_K - truth_K).max() < 0.03 < np.abs(prior_K - truth_K).max()
    after_NK = label_shift.corrected(p_NK[rows], prior_K, found_K)
    before, after = (-np.log(q_NK[range(len(rows)), label_N[rows]]).mean() for q_NK in (p_NK[rows], after_NK))
    assert after < before - 0.02
    right = [(q_NK.argmax(1) == label_N[rows]).mean() for q_NK in (p_NK[rows], after_NK)]
    assert right[1] > right[0]


def test_without_a_shift_hardly_anything_moves(digits):
    p_NK, label_N, prior_K = digits
    truth_K = np.bincount(label_N) / len(label_N)
    assert np.abs(label_shift.estimate(p_NK, prior_K) - truth_K).max() < 0.015 < np.abs(prior_K - truth_K).max()


def test_the_correction_by_hand():
    """p = (0.6, 0.4) under even priors; of classes at 1 to 3: 0.6·0.25 : 0.4·0.75."""
    p_NK, even_K = np.array([[0.6, 0.4]]), np.array([0.5, 0.5])
    after_NK = label_shift.corrected(p_NK, even_K, np.array([0.25, 0.75]))
    np.testing.assert_allclose(after_NK, [[1 / 3, 2 / 3]])
    np.testing.assert_allclose(label_shift.corrected(p_NK, even_K, even_K), p_NK)


def test_an_image_of_no_class_that_has_a_share_keeps_the_shares():
    p_NK, even_K = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]), np.full(3, 1 / 3)
    after_NK = label_shift.corrected(p_NK, even_K, np.array([0, 0.5, 0.5]))
    np.testing.assert_allclose(after_NK, [[0, 0.5, 0.5], [0, 0.375, 0.625]])
    assert np.isfinite(label_shift.estimate(np.eye(3)[[0, 0, 1]], even_K)).all()
