"""Means over seeds, with what is known of them."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats


class Mean(NamedTuple):
    """With its 95 % interval; NaN where there is one value only."""

    mean: float
    low: float
    high: float


def mean(values: Sequence[float]) -> Mean:
    """Student's t over the values."""
    centre = statistics.fmean(values)
    if len(values) < 2:
        return Mean(centre, math.nan, math.nan)
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return Mean(centre, centre - reach, centre + reach)


def difference(one: Sequence[float], other: Sequence[float]) -> Mean:
    """Of two that were measured with the same seeds, in the same order."""
    return mean([a - b for a, b in zip(one, other, strict=True)])


def error_removed(one: Sequence[float], other: Sequence[float]) -> float:
    """The share of the other's mean error that the one does not make."""
    return 1 - (1 - statistics.fmean(one)) / (1 - statistics.fmean(other))


def recovered(learned: Sequence[float], alone: Sequence[float], teacher: Sequence[float]) -> Mean:
    """The share of the gap between a student alone and its teacher that is closed, seed by seed."""
    return mean([(a - b) / (c - b) for a, b, c in zip(learned, alone, teacher, strict=True)])
