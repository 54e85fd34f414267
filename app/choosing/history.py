"""Evidence of finished jobs: where a checkpoint stood among the others on images that they all learned from.

Of each group of jobs on the same images, with the same method and labels, a checkpoint's z-score is its accuracy above
their mean, in their deviations.  The model behind the rest: half of a z-score's variance is the checkpoint's own, and
half comes with the target.  Hence the mean over k past targets counts k/(k + 1) on another one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

FEWEST = 2  # checkpoints on the same images, of which one stands above another
UNKNOWN_LEVEL = 1.0  # logits by which targets differ, as long as there is one
TINY = 1e-9


class Finished(NamedTuple):
    """A job's test accuracy over `n` images, None where that is not known.

    `target` stands for its images, `labels` for what else has to be equal where accuracies are compared.
    """

    target: str
    method: str
    checkpoint: str
    accuracy: float
    n: int | None = None
    labels: str = ""


class PastStanding(NamedTuple):
    """The mean z-score of a checkpoint over so many past targets."""

    z: float
    targets: int

    @property
    def expected(self) -> float:
        """The z-score to expect on another target."""
        return self.targets / (self.targets + 1) * self.z

    @property
    def deviation(self) -> float:
        """The deviation of the z-score on another target from what is expected."""
        return math.sqrt((self.targets + 2) / (self.targets + 1) / 2)


class Level(NamedTuple):
    """The accuracies of a method on past targets, in logits: their mean, by how much targets deviate from it, and the
    mean deviation of checkpoints on one target."""

    mean: float
    deviation: float
    spread: float
    targets: int

    @property
    def unsure(self) -> float:
        """The deviation of another target's level from `mean`."""
        return self.deviation * math.sqrt(1 + 1 / self.targets)


class PastStandings(NamedTuple):
    """The standings of checkpoints, and the levels of methods."""

    checkpoints: Mapping[str, PastStanding]
    methods: Mapping[str, Level]


NOTHING = PastStandings({}, {})


def standings(finished: Iterable[Finished]) -> PastStandings:
    """The standings and levels that finished jobs tell; the mean of several seeds is one accuracy."""
    groups = _groups(finished)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    by_method: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for (target, method, _), by_checkpoint in sorted(groups.items()):
        if len(by_checkpoint) < FEWEST:
            continue
        mean, deviation = _moments([_mean(one) for one in by_checkpoint.values()])
        noise = sum(_noise(one) for one in by_checkpoint.values()) / len(by_checkpoint)
        spread = math.sqrt(deviation**2 + noise)
        if deviation <= TINY:
            continue
        for checkpoint, of in by_checkpoint.items():
            scores[checkpoint][target].append((_mean(of) - mean) / spread)
        by_method[method][target].append(_moments([_logit(of) for of in by_checkpoint.values()]))
    checkpoints = {
        name: PastStanding(sum(sum(of) / len(of) for of in by_target.values()) / len(by_target), len(by_target))
        for name, by_target in sorted(scores.items())
    }
    return PastStandings(checkpoints, {name: _level(by_target) for name, by_target in sorted(by_method.items())})


def _groups(finished: Iterable[Finished]) -> dict[tuple[str, str, str], dict[str, list[Finished]]]:
    groups: dict[tuple[str, str, str], dict[str, list[Finished]]] = defaultdict(lambda: defaultdict(list))
    for one in finished:
        groups[one.target, one.method, one.labels][one.checkpoint].append(one)
    return groups


def _level(by_target: Mapping[str, Sequence[tuple[float, float]]]) -> Level:
    means = [float(np.mean([mean for mean, _ in of])) for of in by_target.values()]
    spreads = [float(np.mean([deviation for _, deviation in of])) for of in by_target.values()]
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else UNKNOWN_LEVEL
    return Level(float(np.mean(means)), deviation, float(np.mean(spreads)), len(means))


def _moments(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values))


def _mean(jobs: Sequence[Finished]) -> float:
    return sum(job.accuracy for job in jobs) / len(jobs)


def _noise(jobs: Sequence[Finished]) -> float:
    """The variance of the mean accuracy that the number of test images explains; all jobs share these."""
    n, share = jobs[0].n, _mean(jobs)
    return share * (1 - share) / n if n else 0.0


def _logit(jobs: Sequence[Finished]) -> float:
    share = min(max(_mean(jobs), 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))
