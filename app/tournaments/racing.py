"""The rules of a race: who goes on after a rung, and who has won.  Neither clock nor database is asked."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.contract.tournament import Racer, RungScore

ETA = 3  # of so many one goes on after a rung
RUNGS = (1 / 9, 1 / 3)  # of a training's steps: what races to the end makes nine times the first
CLEAR = 0.025  # probability, of one side


@dataclass(frozen=True)
class Cut:
    """Numbers of those who go on, the best first, and the reasons why the others do not, by number."""

    kept: list[int]
    reasons: dict[int, str]


def after_rung(arrived: Sequence[Racer], *, first: bool, left_s: float | None, to: float) -> Cut:
    """Decide who goes on to the share `to` of its training.

    A third goes on; after the `first` rung also the best of every family of methods, since what learns slowly may come
    later; and whoever is not clearly worse than the best, as long as that is no more than half.  Of these as many as
    `left_s` suffices for, by what each has taken so far, but one at least.
    """
    ranked = by_accuracy(arrived)
    best, third, half = ranked[0], math.ceil(len(ranked) / ETA), math.ceil(len(ranked) / 2)
    kept = ranked[:third]
    if first:
        families = {racer.family for racer in kept}
        for racer in ranked[third:]:
            if racer.family not in families:
                families.add(racer.family)
                kept.append(racer)
    for racer in ranked[third:]:
        if len(kept) < half and racer not in kept and not clearly_worse(racer, best):
            kept.append(racer)
    reasons = {one.number: _behind(one, best, len(kept), len(ranked)) for one in ranked if one not in kept}
    return _within(by_accuracy(kept), reasons, left_s, to)


def among_all(
    arrived: Sequence[Racer], everyone: Sequence[Racer], rung: float, *, left_s: float | None, to: float
) -> Cut:
    """Decide who of a sweep's trials goes on: those among the best third of all that ever came to the `rung`
    (Li et al. 2020, asynchronous successive halving)."""
    seen = sorted((score.accuracy for racer in everyone if (score := _at(racer, rung)) is not None), reverse=True)
    enough = seen[math.ceil(len(seen) / ETA) - 1]
    kept = [racer for racer in by_accuracy(arrived) if racer.accuracy >= enough]
    reason = f"Not among the best third of {len(seen)} trials at this rung."
    return _within(kept, {racer.number: reason for racer in arrived if racer not in kept}, left_s, to)


def by_accuracy(racers: Sequence[Racer]) -> list[Racer]:
    """The best first; of equals a source unchanged, which costs nothing, then in the order of their numbers."""
    return sorted(racers, key=lambda racer: (-racer.accuracy, racer.baseline != "unchanged", racer.number))


def tied(best: Racer, others: Sequence[Racer]) -> list[int]:
    """Numbers of the others that are not clearly worse than the best."""
    return [other.number for other in others if other.number != best.number and not clearly_worse(other, best)]


def clearly_worse(one: Racer, other: Racer) -> bool:
    """Tell whether chance would hardly make `one` so much worse than `other`.

    Where both were judged on the same images, by those on which only one is right: an exact sign test (McNemar 1947).
    Else by whether the intervals of the two accuracies are apart.
    """
    if one.last is None or other.last is None:
        return one.last is None
    if one.labels != other.labels or one.last.n != other.last.n:
        return one.last.interval[1] < other.last.interval[0]
    one_N, other_N = (_hits(racer) for racer in (one, other))
    wins, losses = int((one_N & ~other_N).sum()), int((other_N & ~one_N).sum())
    n = wins + losses
    probability: float = sum(math.comb(n, k) for k in range(wins + 1)) / 2**n
    return probability <= CLEAR


def _hits(racer: Racer) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    bits = np.unpackbits(np.frombuffer(base64.b64decode(racer.hits), np.uint8))
    return bits[: racer.last.n if racer.last else 0].astype(np.bool_)


def _behind(racer: Racer, best: Racer, kept: int, of: int) -> str:
    how = "clearly worse than" if clearly_worse(racer, best) else "not better than"
    return f"{racer.accuracy:.1%} on validation images, {how} the best ({best.accuracy:.1%}): {kept} of {of} went on."


def _within(kept: Sequence[Racer], reasons: Mapping[int, str], left_s: float | None, to: float) -> Cut:
    count = _affordable(kept, left_s, to)
    late = {racer.number: "The seconds that are left of the budget go to better ones." for racer in kept[count:]}
    return Cut([racer.number for racer in kept[:count]], {**reasons, **late})


def _affordable(kept: Sequence[Racer], left_s: float | None, to: float) -> int:
    if left_s is None:
        return len(kept)
    for number, racer in enumerate(kept):
        share = racer.last.share if racer.last else 1.0
        left_s -= racer.seconds * (to - share) / share
        if left_s < 0:
            return max(1, number)
    return len(kept)


def _at(racer: Racer, rung: float) -> RungScore | None:
    return next((score for score in racer.scores if score.share >= rung), None)
