from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from worker.metrics import scores
from worker.metrics.scores import Judged
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training.evaluate import judge


@pytest.fixture(scope="module")
def logits():
    return torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) * 2


@pytest.fixture(scope="module")
def truth():
    return torch.randint(5, (500,), generator=torch.Generator().manual_seed(2))  # class 5 never occurs


@pytest.fixture
def judged(logits, truth, tmp_path):
    pairs = zip(logits.split(64), truth.split(64), strict=True)
    return judge(Run(Recorder(), tmp_path), lambda x: x, pairs)


def test_figures_are_those_of_scikit_learn(judged, logits, truth):
    report = judged.measured(6).dump()
    predicted = logits.argmax(1).numpy()
    p = logits.double().softmax(1).numpy()
    everything = list(range(6))
    assert report["n"] == 500
    assert report["accuracy"] == metrics.accuracy_score(truth, predicted)
    assert report["nll"] == pytest.approx(metrics.log_loss(truth, p, labels=everything))
    assert report["confusion"] == metrics.confusion_matrix(truth, predicted, labels=everything).tolist()
    recall = metrics.recall_score(truth, predicted, labels=everything, average=None, zero_division=np.nan)
    assert report["per_class"] == [*pytest.approx(recall[:5].tolist()).expected, None]
    assert report["balanced_accuracy"] == pytest.approx(np.nanmean(recall))


def test_calibration_error_is_its_definition(judged, logits, truth):
    p = logits.double().softmax(1)
    confidence, predicted = p.max(1)
    right = (predicted == truth).double()
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.double().mean() * (right[inside].mean() - confidence[inside].mean()).abs()
    assert scores.calibration_error(judged) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval(right, n, low, high):
    """The last is Newcombe's example (1998, table II); 0 and 10 of 10 have the closed form z²/(n + z²)."""
    assert scores.wilson(right, n) == pytest.approx((low, high), abs=1e-4)


def test_all_outputs_compete_and_beside_it_only_the_classes_in_question(logits, truth, tmp_path):
    columns = [4, 2, 0]
    inside = torch.isin(truth, torch.tensor(columns))
    places = torch.tensor([columns.index(int(k)) for k in truth[inside]])
    judged: Any = judge(Run(Recorder(), tmp_path), lambda x: x, iter([(logits[inside], places)]), columns=columns)
    p = logits[inside].double().softmax(1)
    assert np.array_equal(judged.hits, p.argmax(1) == truth[inside])
    assert judged.nll == pytest.approx(metrics.log_loss(truth[inside], p, labels=range(p.shape[1])))
    p = logits[inside][:, columns].double().softmax(1)
    assert np.array_equal(judged.among_shared.predicted_N, p.argmax(1))
    assert judged.among_shared.nll == pytest.approx(metrics.log_loss(places, p, labels=[0, 1, 2]))


def test_a_great_many_classes_have_no_confusion_matrix():
    judged = scores.Judged(np.array([3, 9]), np.array([3, 8]), np.array([0.9, 0.4]), np.array([0.1, 2.0]))
    assert judged.measured(301).dump()["confusion"] is None
    assert judged.measured(10).dump()["accuracy"] == 0.5


def hits(both: int, one_only: int, other_only: int, neither: int) -> tuple[Judged, Judged]:
    one_N = np.repeat([1, 1, 0, 0], (both, one_only, other_only, neither))
    other_N = np.repeat([1, 0, 1, 0], (both, one_only, other_only, neither))
    n = len(one_N)
    one, other = (Judged(np.ones(n, np.int64), hit_N, np.ones(n), np.zeros(n)) for hit_N in (one_N, other_N))
    return one, other


def test_paired_difference_against_published_figures():
    """Newcombe 1998, Improved confidence intervals for the difference between binomial proportions based on paired
    data, table II: 36, 12, 2, 0."""
    found = scores.paired(*hits(36, 12, 2, 0))
    assert found == pytest.approx((0.2, 0.0569, 0.3404), abs=1e-4)


def test_paired_difference_turns_round():
    one, other = hits(50, 9, 3, 12)
    there, back = scores.paired(one, other), scores.paired(other, one)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert scores.paired(one, one).value == 0


def test_paired_difference_covers_the_truth():
    random = np.random.default_rng(0)
    share = np.array([0.7, 0.12, 0.05, 0.13])
    found = [scores.paired(*hits(*random.multinomial(200, share))) for _ in range(1000)]
    assert 0.93 < np.mean([low <= share[1] - share[2] <= high for _, low, high in found]) < 0.98
