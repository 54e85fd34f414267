"""The place of a checkpoint among the others of a question, by several measures of the same features.

A ridge regression on few images is one measure of many.  Each is brought to z-scores over the candidates, and their
mean places a candidate at so many deviations of the regressions' logits.  Scores are comparable on the same images
alone, which the candidates of one question share.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from app.contract.recommendation import Evidence

FEWEST = 3  # candidates: of two, each z-score is 1 or −1
SCORES = ("log_me", "n_leep", "nearest", "parc")  # beside the regression: of features and labels, no head is needed
TINY = 1e-9


class Placed(NamedTuple):
    """The mean z-score of a candidate by all measures, and how far that is from where the regression places it, in
    logits."""

    z: float
    shift: float


def placed(logits: Mapping[str, float], evidence: Mapping[str, Evidence]) -> dict[str, Placed]:
    """Place the checkpoints; `logits` are those of their regressions.  Empty where there are too few, or all equal."""
    names = sorted(logits)
    if len(names) < FEWEST:
        return {}
    ridge = _z_scores({name: logits[name] for name in names})
    if not ridge:
        return {}
    measures = [ridge]
    for score in SCORES:
        values = {name: value for name in names if (value := _value(evidence[name], score)) is not None}
        if len(values) >= FEWEST:
            measures.append(_z_scores(values))
    spread = float(np.std([logits[name] for name in names]))
    means = {name: float(np.mean([of[name] for of in measures if name in of])) for name in names}
    return {name: Placed(means[name], spread * (means[name] - ridge[name])) for name in names}


def _z_scores(values: Mapping[str, float]) -> dict[str, float]:
    """The z-score of each; empty where all are equal."""
    mean, deviation = float(np.mean(list(values.values()))), float(np.std(list(values.values())))
    if deviation <= TINY:
        return {}
    return {name: (value - mean) / deviation for name, value in values.items()}


def _value(one: Evidence, name: str) -> float | None:
    return next((score.value for score in one.scores if score.name == name), None)
