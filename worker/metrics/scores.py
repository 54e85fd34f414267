"""Figures that an evaluation reports: of images with one class each, or of several classes that are each a yes or a
no."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.contract.evaluation import Figures, Measured
from app.core.intervals import wilson as wilson

ECE_BINS = 15
CONFUSION_CLASSES = 300  # beyond so many classes the matrix is left out


class Verdict(Protocol):
    """A network's answers on some examples: `hits` bool [N] and `nll_N` float64 [N], each example's loss."""

    @property
    def hits(self) -> NDArray[np.bool_]: ...

    @property
    def accuracy(self) -> float: ...

    @property
    def nll(self) -> float: ...

    @property
    def series(self) -> dict[str, float]:
        """Figures that are followed during a training."""

    def rank(self, metric: str) -> tuple[float, ...]:
        """The better verdict has the greater: by leading figure, then by loss; with the metric `nll` by that alone."""

    def measured(self, classes: int) -> Measured:
        """The figures of an evaluation; `per_class` is null for a class without examples."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Judged:
    """Answers of one class an image; for each example: true and predicted class, probability of the predicted one, −log
    probability of the true one.

    Where the network has more outputs than there are classes in the examples, a prediction of another class is numbered
    beyond them, and `among_shared` is what it would be were only the classes of the examples in question.
    """

    truth_N: NDArray[np.int64]
    predicted_N: NDArray[np.int64]
    confidence_N: NDArray[np.float64]
    nll_N: NDArray[np.float64]
    among_shared: "Judged | None" = None

    def __len__(self) -> int:
        return len(self.truth_N)

    @property
    def hits(self) -> NDArray[np.bool_]:
        hit_N: NDArray[np.bool_] = self.truth_N == self.predicted_N
        return hit_N

    @property
    def accuracy(self) -> float:
        return float(self.hits.mean())

    @property
    def nll(self) -> float:
        return float(self.nll_N.mean())

    @property
    def series(self) -> dict[str, float]:
        return {"loss": self.nll, "accuracy": self.accuracy}

    def rank(self, metric: str) -> tuple[float, ...]:
        return (-self.nll,) if metric == "nll" else (self.accuracy, -self.nll)

    def measured(self, classes: int) -> Measured:
        recall_K = recall(self, classes)
        measured = Measured(
            split="test",
            n=len(self),
            accuracy=self.accuracy,
            accuracy_interval=_interval(self),
            balanced_accuracy=float(np.nanmean(recall_K)),
            nll=self.nll,
            ece=calibration_error(self),
            per_class=_or_none(recall_K),
            confusion=confusion(self, classes).tolist() if classes <= CONFUSION_CLASSES else None,
        )
        if self.among_shared is None:
            return measured
        among = self.among_shared.measured(classes)
        shared = Figures(
            accuracy=among.accuracy,
            accuracy_interval=among.accuracy_interval,
            balanced_accuracy=among.balanced_accuracy,
            nll=among.nll,
            ece=among.ece,
        )
        others = int((self.predicted_N >= classes).sum())
        return measured.model_copy(update={"among_shared": shared, "taken_for_other_classes": others})


@dataclass(frozen=True)
class JudgedEach:
    """Answers of several labels an image; for each class and example: true or not, logit and probability [K,N]; per
    example the mean loss of its classes.

    What is more probable than not is predicted.
    """

    truth_KN: NDArray[np.bool_]
    logit_KN: NDArray[np.float64]
    p_KN: NDArray[np.float64]
    nll_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.nll_N)

    @property
    def decided(self) -> NDArray[np.bool_]:
        """[K,N]: p ≥ 0.5."""
        return self.logit_KN >= 0

    @property
    def hits(self) -> NDArray[np.bool_]:
        """[N]: all classes at once."""
        hit_N: NDArray[np.bool_] = (self.decided == self.truth_KN).all(axis=0)
        return hit_N

    @property
    def accuracy(self) -> float:
        return float(self.hits.mean())

    @property
    def nll(self) -> float:
        return float(self.nll_N.mean())

    @cached_property
    def precisions(self) -> NDArray[np.float64]:
        """[K]: average precision; NaN for a class without examples."""
        pairs = zip(self.truth_KN, self.logit_KN, strict=True)
        return np.array([average_precision(truth_N, score_N) for truth_N, score_N in pairs])

    @property
    def map(self) -> float:
        """Mean over the classes that have an example; NaN where none has."""
        return _mean(self.precisions)

    @property
    def series(self) -> dict[str, float]:
        precision = {} if math.isnan(self.map) else {"map": self.map}
        return {"loss": self.nll, "accuracy": self.accuracy} | precision

    def rank(self, metric: str) -> tuple[float, ...]:
        return (-self.nll,) if metric == "nll" or math.isnan(self.map) else (self.map, -self.nll)

    def measured(self, classes: int) -> Measured:
        hit_K = (self.decided & self.truth_KN).sum(axis=1)
        positive_K, predicted_K = self.truth_KN.sum(axis=1), self.decided.sum(axis=1)
        negative_K = len(self) - positive_K
        recall_K = _share(hit_K, positive_K)
        specificity_K = _share(negative_K - predicted_K + hit_K, negative_K)
        f1_K = np.nan_to_num(_share(2 * hit_K, positive_K + predicted_K))
        precision_K = self.precisions
        return Measured(
            split="test",
            n=len(self),
            accuracy=self.accuracy,
            accuracy_interval=_interval(self),
            balanced_accuracy=float(np.mean([_mean(pair) for pair in zip(recall_K, specificity_K, strict=True)])),
            nll=self.nll,
            ece=calibration_error(self._decisions),
            per_class=_or_none(recall_K),
            confusion=None,
            map=None if math.isnan(self.map) else self.map,
            average_precision=_or_none(precision_K),
            macro_f1=float(f1_K.mean()),
            micro_f1=float(np.nan_to_num(_share(2 * hit_K.sum(), (positive_K + predicted_K).sum()))),
        )

    @property
    def _decisions(self) -> "Judged":
        """Every yes and no as an example by itself."""
        predicted_N, p_N = self.decided.ravel(), self.p_KN.ravel()
        return Judged(
            self.truth_KN.ravel().astype(np.int64),
            predicted_N.astype(np.int64),
            np.where(predicted_N, p_N, 1 - p_N),
            np.zeros(len(p_N)),
        )


def average_precision(truth_N: NDArray[np.bool_], score_N: NDArray[np.float64]) -> float:
    """Σ (Rₙ − Rₙ₋₁) Pₙ over all thresholds, from the highest score; NaN where nothing is true."""
    order_N = np.argsort(-score_N, kind="stable")
    end_T = np.flatnonzero(np.diff(score_N[order_N], append=-np.inf))  # equal scores have one threshold
    true_T = truth_N[order_N].cumsum()[end_T]
    if not true_T[-1]:
        return math.nan
    return float((np.diff(true_T, prepend=0) * true_T / (end_T + 1)).sum() / true_T[-1])


class Difference(NamedTuple):
    """One accuracy less another, on the same examples, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high


def paired(one: Verdict, other: Verdict) -> Difference:
    """The difference by which `one` is right more often than `other` on the same examples (Newcombe 1998, method 10 for
    pairs)."""
    right_N, other_right_N = one.hits, other.hits
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
    """The correlation of two series of hits, with Newcombe's correction for continuity above 0; 0 where one is
    constant."""
    n = len(one_N)
    both, neither = int((one_N & other_N).sum()), int((~one_N & ~other_N).sum())
    one, other = int(one_N.sum()), int(other_N.sum())
    spread = math.sqrt(one * (n - one) * other * (n - other))
    product = float(both * neither - (one - both) * (other - both))
    if product > 0:
        product = max(0.0, product - n / 2)
    return product / spread if spread else 0.0


def _interval(judged: Verdict) -> tuple[float, float]:
    return wilson(int(judged.hits.sum()), len(judged))


def _or_none(value_K: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in value_K.tolist()]


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """NaN where there is nothing to have a share of."""
    share: NDArray[np.float64] = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _mean(values: Iterable[float]) -> float:
    """The mean of the numbers among them; NaN where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def confusion(judged: Judged, classes: int) -> NDArray[np.int64]:
    """[K,K] counts: rows are true classes, columns predicted ones; a prediction of another class is in no column."""
    pairs = (judged.truth_N * classes + judged.predicted_N)[judged.predicted_N < classes]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def recall(judged: Judged, classes: int) -> NDArray[np.float64]:
    """[K] share of each class's examples that were recognised; NaN where there is none."""
    there_K = np.bincount(judged.truth_N, minlength=classes)
    return _share(np.bincount(judged.truth_N[judged.hits], minlength=classes), there_K)


def calibration_error(judged: Judged) -> float:
    """Expected calibration error over 15 bins of equal width, (0, 1/15], …, (14/15, 1] (Guo et al. 2017, eq. 3)."""
    bin_N = np.clip(np.ceil(judged.confidence_N * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gap = np.bincount(bin_N, weights=judged.hits - judged.confidence_N, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(judged))
