"""What an evaluation reports, from each example's predicted class, confidence and loss."""

import math
from dataclasses import dataclass
from typing import Any

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
