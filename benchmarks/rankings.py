"""How well checkpoints are ranked: by history alone on two public tables of truth, and by forecasts on the zoo's.

Both go through the product's own functions.  Whatever is learned from truth leaves out the target that it is judged on.
"""

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, weightedtau

from app.choosing.forecast import CandidateFacts, Question, forecast
from app.choosing.history import Finished, standings
from app.contract.recommendation import Evidence

Scores = Mapping[str, float]
DRAWN = 50  # sets of past targets, of each target


@dataclass(frozen=True)
class PublicTable:
    """Percent right after fine-tuning, by checkpoint and target; not every cell is known."""

    parameters: Scores
    accuracy: Mapping[str, Scores]  # by target

    @classmethod
    def read(cls, path: Path) -> "PublicTable":
        """A row a checkpoint: `checkpoint`, `parameters`, then a column for each target."""
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        targets = [name for name in rows[0] if name not in ("checkpoint", "parameters")]
        accuracy = {name: {row["checkpoint"]: float(row[name]) for row in rows if row[name]} for name in targets}
        return cls({row["checkpoint"]: float(row["parameters"]) for row in rows if row["parameters"]}, accuracy)

    def by_history(self, past: int) -> list[float]:
        """Weighted τ of each target, in the mean over sets of `past` other targets: all, or `DRAWN` of them."""
        found = []
        for target, truth in self.accuracy.items():
            others = [name for name in self.accuracy if name != target]
            sets = list(itertools.combinations(others, past))
            if len(sets) > DRAWN:
                random = np.random.default_rng(0)
                sets = [sets[place] for place in np.sort(random.permutation(len(sets))[:DRAWN])]
            found.append(float(np.mean([self._tau(truth, chosen) for chosen in sets])))
        return found

    def by_parameters(self) -> list[float]:
        return [tau(self.parameters, truth) for truth in self.accuracy.values()]

    def concordance(self) -> float:
        return concordance(list(self.accuracy.values()))

    def _tau(self, truth: Scores, past: Sequence[str]) -> float:
        jobs = [
            Finished(target, "fine_tune", checkpoint, accuracy / 100)
            for target in past
            for checkpoint, accuracy in self.accuracy[target].items()
        ]
        stood = standings(jobs).checkpoints
        return tau({name: stood[name].expected if name in stood else 0.0 for name in truth}, truth)


def tau(scores: Scores, truth: Scores) -> float:
    """SciPy's weighted τ, over the checkpoints that have both."""
    names = [name for name in truth if name in scores]
    return float(weightedtau([scores[name] for name in names], [truth[name] for name in names]).statistic)


def concordance(truths: Sequence[Scores]) -> float:
    """Kendall's W with the correction for ties, over the checkpoints that all targets have: 1 is one order for all."""
    names = sorted(set.intersection(*(set(one) for one in truths)))
    ranks = np.array([rankdata([one[name] for name in names]) for one in truths])
    m, n = ranks.shape
    squares = float(((ranks.sum(0) - m * (n + 1) / 2) ** 2).sum())
    counts = [np.unique(row, return_counts=True)[1] for row in ranks]
    ties = sum(float((count**3 - count).sum()) for count in counts)
    return 12 * squares / (m**2 * (n**3 - n) - m * ties)


@dataclass(frozen=True)
class ZooTruth:
    """What is known of the zoo by one method: `accuracy` by target and checkpoint."""

    method: str
    accuracy: Mapping[str, Scores]
    test: Mapping[str, int]
    evidence: Mapping[str, Sequence[Evidence]]
    parameters: Scores
    source_accuracy: Scores
    worthless: frozenset[str]

    @cached_property
    def checkpoints(self) -> list[str]:
        return sorted(set.intersection(*(set(one) for one in self.accuracy.values())))

    def concordance(self) -> float:
        return concordance(list(self.accuracy.values()))

    def first(self, scores: Mapping[str, Scores], target: str) -> str:
        return min(self.accuracy[target], key=lambda name: (-scores[target][name], name))

    def rankers(self) -> dict[str, Mapping[str, Scores]]:
        """Scores by ranker, target and checkpoint."""
        found: dict[str, Mapping[str, Scores]] = {
            "parameters": dict.fromkeys(self.accuracy, self.parameters),
            "source accuracy": dict.fromkeys(self.accuracy, self.source_accuracy),
            "history": {target: self._history(target) for target in self.accuracy},
            "ridge": self._each(lambda one: None if one.probe is None else one.probe.accuracy),
        }
        names = {score.name for of in self.evidence.values() for one in of for score in one.scores if score.tier == 2}
        for name in sorted(names):
            found[name] = self._each(lambda one, name=name: _score(one, name))
        found["forecast without history"] = {
            target: {entry: accuracy for entry, (accuracy, _) in self.forecasts(target, past=False).items()}
            for target in self.accuracy
        }
        found["forecast"] = {
            target: {entry: accuracy for entry, (accuracy, _) in self.forecasts(target).items()}
            for target in self.accuracy
        }
        return found

    def forecasts(self, target: str, *, past: bool = True) -> dict[str, tuple[float, tuple[float, float]]]:
        """The product's forecast, accuracy and interval by checkpoint; `past`: with the jobs on all other targets."""
        found = {one.checkpoint: one for one in self.evidence[target] if one.checkpoint in self.accuracy[target]}
        candidates = [
            CandidateFacts(
                id=name,
                name=name,
                parameters=int(self.parameters[name]),
                knows_classes=one.unchanged is not None,
                keeps_head=one.unchanged is not None,
                methods=(self.method,),
            )
            for name, one in found.items()
        ]
        question = Question(None, candidates, methods=[self.method], scratch=False)
        if past:
            question = Question(
                None, candidates, methods=[self.method], scratch=False, standings=standings(self._jobs(target))
            )
        entries = forecast(question, list(found.values())).entries
        return {
            entry.checkpoint: (entry.predicted.accuracy, entry.predicted.interval)
            for entry in entries
            if entry.checkpoint is not None
        }

    def regret(self, scores: Mapping[str, Scores], among: int = 1) -> list[float]:
        """How much better the best checkpoint of a target is than the best of the first `among`, in points."""
        found = []
        for target, truth in self.accuracy.items():
            order = sorted(truth, key=lambda name: (-scores[target][name], name))
            found.append(100 * (max(truth.values()) - max(truth[name] for name in order[:among])))
        return found

    def covered(self) -> tuple[int, int]:
        """How many forecasts' intervals hold the truth, and of how many."""
        inside = [
            low <= self.accuracy[target][name] <= high
            for target in self.accuracy
            for name, (_, (low, high)) in self.forecasts(target).items()
        ]
        return sum(inside), len(inside)

    def _jobs(self, target: str) -> list[Finished]:
        return [
            Finished(other, self.method, name, accuracy, self.test[other])
            for other, truth in self.accuracy.items()
            if other != target
            for name, accuracy in truth.items()
        ]

    def _history(self, target: str) -> Scores:
        stood = standings(self._jobs(target)).checkpoints
        return {name: stood[name].expected if name in stood else 0.0 for name in self.accuracy[target]}

    def _each(self, of: Callable[[Evidence], float | None]) -> dict[str, Scores]:
        """A score that has no value is below all that have one."""
        return {
            target: {
                one.checkpoint: -math.inf if (value := of(one)) is None else value
                for one in self.evidence[target]
                if one.checkpoint in truth
            }
            for target, truth in self.accuracy.items()
        }


def _score(one: Evidence, name: str) -> float | None:
    return next((score.value for score in one.scores if score.name == name), None)


def by_target(rows: Iterable[tuple[str, str, float]]) -> dict[str, dict[str, float]]:
    """Accuracies by target and checkpoint, of (target, checkpoint, accuracy)."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for target, checkpoint, accuracy in rows:
        found[target][checkpoint] = accuracy
    return dict(found)


def taus(scores: Mapping[str, Scores], truth: Mapping[str, Scores]) -> NDArray[np.float64]:
    """Weighted τ of each target."""
    return np.array([tau(scores[target], truth[target]) for target in truth])
