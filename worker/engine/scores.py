"""What an evaluation reports, from each example's predicted class, confidence and loss."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15
CONFUSION_CLASSES = 300  # beyond so many classes the matrix is left out
Z_95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Judged:
    """Per example: true and predicted class, probability of the predicted one, −log probability of the true one."""

    truth_N: NDArray[np.int64]
    predicted_N: NDArray[np.int64]
    confidence_N: NDArray[np.float64]
    nll_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.truth_N)

    @property
    def accuracy(self) -> float:
        return float((self.truth_N == self.predicted_N).mean())

    @property
    def nll(self) -> float:
        return float(self.nll_N.mean())


class Difference(NamedTuple):
    """One accuracy less another, on the same examples, with its 95 % interval."""

    value: float
    low: float
    high: float

    def document(self) -> dict[str, Any]:
        return {"difference": self.value, "interval": [self.low, self.high]}


def paired(one: Judged, other: Judged) -> Difference:
    """How much more often `one` is right than `other` on the same examples (Newcombe 1998, method 10 for pairs)."""
    right_N, other_right_N = (judged.truth_N == judged.predicted_N for judged in (one, other))
    n, phi = len(one), _correlation(right_N, other_right_N)
    share, other_share = float(right_N.mean()), float(other_right_N.mean())
    low, high = wilson(int(right_N.sum()), n)
    other_low, other_high = wilson(int(other_right_N.sum()), n)
    value = share - other_share
    return Difference(
        value,
        value - _joined(share - low, other_high - other_share, phi),
        value + _joined(high - share, other_share - other_low, phi),
    )


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def _correlation(one_N: NDArray[np.bool_], other_N: NDArray[np.bool_]) -> float:
    """Of two series of hits, with Newcombe's correction for continuity above 0; 0 where one is constant."""
    n = len(one_N)
    both, neither = int((one_N & other_N).sum()), int((~one_N & ~other_N).sum())
    one, other = int(one_N.sum()), int(other_N.sum())
    spread = math.sqrt(one * (n - one) * other * (n - other))
    product = float(both * neither - (one - both) * (other - both))
    if product > 0:
        product = max(0.0, product - n / 2)
    return product / spread if spread else 0.0


def report(judged: Judged, classes: int) -> dict[str, Any]:
    """The evaluation's figures as a JSON document; `per_class` is null for a class without examples."""
    recall_K = recall(judged, classes)
    right = int((judged.truth_N == judged.predicted_N).sum())
    return {
        "n": len(judged),
        "accuracy": judged.accuracy,
        "accuracy_interval": list(wilson(right, len(judged))),
        "balanced_accuracy": float(np.nanmean(recall_K)),
        "nll": judged.nll,
        "ece": calibration_error(judged),
        "per_class": [None if math.isnan(value) else value for value in recall_K.tolist()],
        "confusion": confusion(judged, classes).tolist() if classes <= CONFUSION_CLASSES else None,
    }


def confusion(judged: Judged, classes: int) -> NDArray[np.int64]:
    """[K,K] counts: rows are true classes, columns predicted ones."""
    pairs = judged.truth_N * classes + judged.predicted_N
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def recall(judged: Judged, classes: int) -> NDArray[np.float64]:
    """[K] share of each class's examples that were recognised; NaN where there is none."""
    there_K = np.bincount(judged.truth_N, minlength=classes)
    right_K = np.bincount(judged.truth_N[judged.truth_N == judged.predicted_N], minlength=classes)
    recall_K: NDArray[np.float64] = np.full(classes, np.nan)
    np.divide(right_K, there_K, out=recall_K, where=there_K > 0)
    return recall_K


def calibration_error(judged: Judged) -> float:
    """Expected calibration error over 15 bins of equal width, (0, 1/15], …, (14/15, 1] (Guo et al. 2017, eq. 3)."""
    bin_N = np.clip(np.ceil(judged.confidence_N * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    right_N = judged.truth_N == judged.predicted_N
    gap = np.bincount(bin_N, weights=right_N - judged.confidence_N, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(judged))


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): sensible for few examples and near 0 and 1."""
    share, z2 = right / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
