"""Scores beside their definitions computed otherwise, on the real digits of optdigits and on what is degenerate."""

import contextlib
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from worker.choosing import gap, ridge, scores
from worker.choosing.scores import Undefined


@pytest.fixture(scope="module")
def digits():
    """200 images as 64 features, and their labels."""
    bunch = load_digits()
    rows = np.random.default_rng(0).permutation(len(bunch.target))[:200]
    return bunch.data[rows] / 16.0, bunch.target[rows].astype(np.int64)


@pytest.fixture(scope="module")
def probabilities(digits):
    """What a classifier of even and odd digits and one of three arbitrary groups say: a source of six classes."""
    x, y = digits
    return LogisticRegression(max_iter=2000).fit(x[:100], (y[:100] * 7 + 3) % 6).predict_proba(x)


def test_log_me_is_the_greatest_evidence(digits):
    """The evidence as a Gaussian over the images, maximised by a general optimiser."""
    x, y = digits
    x, y = x[:40, 20:30], (y[:40] > 4).astype(np.int64)

    def best(target):
        def negative(logs):
            alpha, beta = np.exp(logs)
            covariance = np.eye(len(x)) / beta + x @ x.T / alpha
            return -multivariate_normal(np.zeros(len(x)), covariance).logpdf(target)

        return -minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).fun

    wanted = np.mean([best((y == k).astype(float)) for k in range(2)]) / len(x)
    assert scores.log_me(x, y) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("width", [30, 120])  # fewer features than images, and more
def test_log_me_where_features_are_many(width):
    random = np.random.default_rng(1)
    x, y = random.normal(size=(60, width)), np.arange(60) % 3
    target = (y == 0).astype(float)

    def negative(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(60) / beta + x @ x.T / alpha
        return -multivariate_normal(np.zeros(60), covariance).logpdf(target)

    best = min(minimize(negative, start, method="Nelder-Mead").fun for start in ([0, 0], [5, 2], [2, 2]))
    square, basis = np.linalg.svd(x, full_matrices=False)[1] ** 2, np.linalg.svd(x, full_matrices=False)[0]
    ours = scores._evidence(square, basis.T @ target, float(target @ target), 60, width)
    assert ours == pytest.approx(-best, abs=0.05)


def test_h_score_is_the_trace_of_its_definition(digits):
    x, y = digits
    estimate = LedoitWolf().fit(x)
    means = np.stack([x[y == k].mean(0) for k in y])
    between = np.cov(means, rowvar=False, bias=True)
    wanted = (1 - estimate.shrinkage_) * np.trace(np.linalg.inv(estimate.covariance_) @ between)
    assert scores.h_score(x, y) == pytest.approx(wanted, rel=1e-8)


def test_h_score_of_noise_is_not_the_greatest_where_features_outnumber_images(digits):
    """Without shrinkage it would be: random features separate any labels in enough dimensions."""
    _, y = digits
    noise = np.random.default_rng(0).normal(size=(200, 400))
    assert scores.h_score(noise, y) < 0.5 * scores.h_score(digits[0], y)


def test_leep_and_nce_are_their_sums(digits, probabilities):
    _, y = digits
    p = probabilities
    n, z = p.shape
    total = 0.0
    for i in range(n):
        inner = 0.0
        for k in range(z):
            joint = sum(p[j, k] for j in range(n) if y[j] == y[i]) / n
            inner += joint / (p[:, k].sum() / n) * p[i, k]
        total += math.log(inner)
    assert scores.leep(p, y) == pytest.approx(total / n, rel=1e-9)
    pairs = [(y[i], p[i].argmax()) for i in range(n)]
    entropy = 0.0
    for c, k in set(pairs):
        joint, marginal = pairs.count((c, k)) / n, sum(pair[1] == k for pair in pairs) / n
        entropy -= joint * math.log(joint / marginal)
    assert scores.nce(p, y) == pytest.approx(-entropy, rel=1e-9)


def test_leep_where_a_class_of_the_source_has_no_mass(digits, probabilities):
    _, y = digits
    wider = np.concatenate([probabilities, np.zeros((len(y), 3))], 1)
    assert scores.leep(wider, y) == pytest.approx(scores.leep(probabilities, y))
    assert scores.nce(wider, y) == pytest.approx(scores.nce(probabilities, y))


def test_the_nearest_is_that_of_scikit_learn(digits):
    x, y = digits
    model = KNeighborsClassifier(2, metric="cosine").fit(x, y)
    others = [next(j for j in row if j != i) for i, row in enumerate(model.kneighbors(x)[1])]
    assert scores.nearest(x, y) == pytest.approx((y[others] == y).mean())


RANKERS = [scores.log_me, scores.h_score, scores.n_leep, scores.parc, scores.nearest]


@pytest.mark.parametrize("score", RANKERS, ids=lambda score: score.__name__)
def test_pixels_of_digits_say_more_of_digits_than_noise(score, digits):
    x, y = digits
    noise = np.random.default_rng(0).normal(size=x.shape)
    shuffled = np.random.default_rng(0).permutation(y)
    assert score(x, y) > score(noise, y)
    assert score(x, y) > score(x, shuffled)


@pytest.mark.parametrize("score", [*RANKERS, ridge.hits], ids=lambda score: score.__name__)
def test_what_is_degenerate_gives_a_number_or_a_reason(score, digits):
    x, y = digits
    inputs = {
        "one class": (x, np.zeros(len(x), np.int64)),
        "constant": (np.ones_like(x), y),
        "zero": (np.zeros_like(x), y),
        "fewer images than features": (x[:12], y[:12] % 2),
        "a constant feature": (np.concatenate([x, np.ones((len(x), 1))], 1), y),
        "two images": (x[:2], np.array([0, 1])),
        "one feature": (x[:, 20:21], y),
        "equal images": (np.repeat(x[:1], 50, 0), np.arange(50) % 2),
    }
    for name, (features, labels) in inputs.items():
        with contextlib.suppress(Undefined):
            assert np.isfinite(np.asarray(score(features, labels), float)).all(), name


def test_ridge_is_near_a_logistic_regression_on_images_unseen(digits):
    x, y = digits
    hit = ridge.hits(x, y)
    held = LogisticRegression(max_iter=2000).fit(x[:160], y[:160]).score(x[160:], y[160:])
    assert hit.shape == y.shape
    assert abs(hit.mean() - held) < 0.1
    assert ridge.hits(np.random.default_rng(0).normal(size=(200, 300)), y).mean() < 0.25  # no image judges itself


def test_gaps_are_none_within_a_domain_and_wide_between_two(digits):
    x, _ = digits
    first, second, other = x[:100], x[100:], 1 - x[100:]
    assert gap.proxy_a(first, second) < 0.6
    assert gap.proxy_a(first, other) > 1.8
    assert abs(gap.mmd(first, second)) < 0.02 < gap.mmd(first, other)
    assert gap.coral(first, second) < gap.coral(first, 3 * other)


def test_mmd_is_the_mean_of_its_kernels(digits):
    x, _ = digits
    a, b = x[:6], x[6:11]
    everything = np.concatenate([a, b])
    distances = [((u - v) ** 2).sum() for i, u in enumerate(everything) for v in everything[i + 1 :]]
    width = np.median(distances)

    def mean(pairs):
        return np.mean([math.exp(-((u - v) ** 2).sum() / width) for u, v in pairs])

    within = mean([(u, v) for i, u in enumerate(a) for j, v in enumerate(a) if i != j])
    beyond = mean([(u, v) for i, u in enumerate(b) for j, v in enumerate(b) if i != j])
    between = mean([(u, v) for u in a for v in b])
    assert gap.mmd(a, b) == pytest.approx(within + beyond - 2 * between)
