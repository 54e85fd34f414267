"""Both kinds of labels against scikit-learn, PyTorch and hand-computed cases."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from worker.data import targets as kinds
from worker.metrics import scores
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training.evaluate import judge, validator

N, K = 400, 5


@pytest.fixture(scope="module")
def logits():
    drawn = torch.randn(N, K, generator=torch.Generator().manual_seed(1)) * 2
    return drawn.round(decimals=1)  # with equal scores


@pytest.fixture(scope="module")
def target():
    """The last class never occurs; some images have no class at all."""
    share = torch.tensor([0.5, 0.2, 0.9, 0.05, 0.0])
    return (torch.rand(N, K, generator=torch.Generator().manual_seed(2)) < share).to(torch.uint8)


@pytest.fixture
def judged(logits, target, tmp_path):
    return judge(Run(Recorder(), tmp_path), lambda x: x, zip(logits.split(64), target.split(64), strict=True))


def test_figures_are_those_of_scikit_learn(judged, logits, target):
    report = judged.measured(K).dump()
    p, truth = logits.double().sigmoid().numpy(), target.numpy()
    predicted = (p >= 0.5).astype(int)
    precision = [metrics.average_precision_score(truth[:, k], p[:, k]) for k in range(K - 1)]
    assert report["average_precision"][:-1] == pytest.approx(precision)
    assert report["average_precision"][-1] is report["per_class"][-1] is None
    assert report["map"] == pytest.approx(np.mean(precision))
    assert report["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro", zero_division=0))
    assert report["micro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="micro"))
    assert report["n"] == N
    assert report["accuracy"] == metrics.accuracy_score(truth, predicted)
    assert report["accuracy_interval"] == list(scores.wilson(round(report["accuracy"] * N), N))
    each = [metrics.log_loss(truth[:, k], p[:, k], labels=[0, 1]) for k in range(K)]
    assert report["nll"] == pytest.approx(np.mean(each))
    recall = metrics.recall_score(truth, predicted, average=None, zero_division=np.nan)
    assert report["per_class"][:-1] == pytest.approx(recall[:-1])
    balanced = [metrics.balanced_accuracy_score(truth[:, k], predicted[:, k]) for k in range(K - 1)]
    specificity = 1 - predicted[:, K - 1].mean()
    assert report["balanced_accuracy"] == pytest.approx(np.mean([*balanced, specificity]))
    assert report["confusion"] is None


def test_calibration_error_is_over_all_decisions(judged, logits, target):
    p, truth = logits.double().sigmoid().ravel(), target.ravel().bool()
    confidence, right = torch.maximum(p, 1 - p), (p >= 0.5) == truth
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.double().mean() * (right[inside].double().mean() - confidence[inside].mean()).abs()
    assert judged.measured(K).dump()["ece"] == pytest.approx(float(expected))


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=30))
def test_average_precision_with_equal_scores(pairs):
    truth, score = (np.array(values) for values in zip(*pairs, strict=True))
    found = scores.average_precision(truth, score.astype(float))
    if truth.any():
        assert found == pytest.approx(metrics.average_precision_score(truth, score))
    else:
        assert np.isnan(found)


def test_only_the_classes_in_question_are_judged(logits, target, tmp_path):
    columns = [2, 0]
    batches = iter([(logits, target[:, columns])])
    found = judge(Run(Recorder(), tmp_path), lambda x: x, batches, columns=columns)
    expected = [metrics.average_precision_score(target[:, k], logits[:, k]) for k in columns]
    assert found.measured(2).dump()["average_precision"] == pytest.approx(expected)


def test_the_best_weights_have_the_greatest_mean_average_precision(logits, target, tmp_path):
    def validated(x, targets, metric):
        return validator(Run(Recorder(), tmp_path), torch.nn.Identity(), lambda: iter([(x, targets)]), metric)()

    def ranks(targets, metric="accuracy"):
        better = torch.where(targets > 0, 1.0, -1.0) * 0.1  # ranks all right, says little
        return [validated(x, targets, metric) for x in (better, logits)]

    best, other = ranks(target)
    assert best.values["map"] == 1
    assert best.rank > other.rank
    without = ranks(torch.zeros_like(target))  # no class has an example: the loss decides
    assert all("map" not in one.values and one.rank == (-one.values["loss"],) for one in without)
    assert all(one.rank == (-one.values["loss"],) for one in ranks(target, "nll"))


def test_paired_difference_counts_images_that_are_all_right(judged, logits, target, tmp_path):
    perfect = torch.where(target > 0, 1.0, -1.0)
    other = judge(Run(Recorder(), tmp_path), lambda x: x, iter([(perfect, target)]))
    assert scores.paired(other, judged).value == pytest.approx(1 - judged.accuracy)


def test_loss_of_several_labels_is_binary_cross_entropy(logits, target):
    y, weight_K = target.float(), torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0])
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    loss = kinds.of(target).loss
    assert loss(logits, target, None, 0.0) == pytest.approx(-float((y * log_p + (1 - y) * log_q).mean()))
    smooth = y * 0.8 + 0.1
    weighted = -(weight_K * smooth * log_p + (1 - smooth) * log_q).mean()
    assert loss(logits, target, weight_K, 0.2) == pytest.approx(float(weighted))


@pytest.mark.parametrize("kind", ["one", "several"])
def test_loss_is_linear_in_the_targets(logits, target, kind):
    """So mixing two losses is mixing the target vectors (mixup's and CutMix's definition)."""
    own, partner = (target, target.roll(1, 0)) if kind == "several" else (target.argmax(1), target.argmax(1).roll(1))
    loss = kinds.of(own).loss
    mixed = 0.3 * loss(logits, own, None, 0.1) + 0.7 * loss(logits, partner, None, 0.1)
    if kind == "one":
        vectors = 0.3 * F.one_hot(own, K) + 0.7 * F.one_hot(partner, K)
        expected = F.cross_entropy(logits, vectors, label_smoothing=0.1)
    else:
        vectors = 0.3 * own + 0.7 * partner
        expected = F.binary_cross_entropy_with_logits(logits, vectors * 0.9 + 0.05)
    assert float(mixed) == pytest.approx(float(expected), rel=1e-5)


def test_class_weights_are_negatives_over_positives():
    target = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1]], dtype=torch.uint8)
    assert kinds.of(target).class_weights(target, 4).tolist() == [3, 0.25, 1, 1]


def test_class_weights_of_one_label_are_scikit_learns():
    label = torch.tensor([0, 0, 0, 2, 2, 1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=label.numpy())
    assert kinds.of(label).class_weights(label, 3).tolist() == pytest.approx(expected.tolist())


def test_images_are_drawn_as_of_their_rarest_class():
    target = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=torch.uint8)
    assert kinds.of(target).groups(target, 3).tolist() == [1, 0, 3, 2]
