"""The sampler of sweeps: where the next trial is to be, by the seed and what the trials before came to.

The first points are spread evenly (a shifted Halton sequence).  Then those are drawn that resemble the good quarter of
the trials more than the others: tree-structured Parzen estimators, each parameter by itself (Bergstra et al. 2011).
Trials are compared at the farthest rung that enough of them have come to (Falkner et al. 2018).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from app.contract.sweep import Dimension, Drawn, Range
from app.contract.tournament import Racer

GOOD = 0.25
DRAWS = 24  # of which the most promising is taken
WIDTH = 0.1  # of a kernel, at least
TRIES = 50  # to draw what has not been drawn yet
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)
Point = dict[str, Drawn]
Units = dict[str, float]  # 0 … 1; of a choice the place


def propose(space: Mapping[str, Dimension], seed: int, before: Sequence[Racer], *, even: int) -> Point:
    """The next trial's parameters, by their paths; the first `even` ones are spread evenly."""
    known = [racer.drawn for racer in before]
    for attempt in range(TRIES):
        random = np.random.default_rng([seed, len(before), attempt])
        seen = _comparable(space, before)
        spread = len(before) < even or len(seen) < 2
        units = _spread(space, seed, len(before), random, attempt) if spread else _promising(space, seen, random)
        point = {path: _value(space[path], unit) for path, unit in units.items()}
        if point not in known:
            break
    return point


def _comparable(space: Mapping[str, Dimension], before: Sequence[Racer]) -> list[tuple[Units, float]]:
    """Trials and their accuracies at the farthest rung that more of them have come to than there are parameters; where
    there is no such rung, at the first."""
    shares = sorted({score.share for racer in before for score in racer.scores}, reverse=True)
    found: list[tuple[Units, float]] = []
    for share in shares:
        found = [
            (_units(space, racer.drawn), score.accuracy)
            for racer in before
            if (score := next((one for one in racer.scores if one.share >= share), None)) is not None
        ]
        if len(found) > len(space) + 1:
            break
    return found


def _spread(space: Mapping[str, Dimension], seed: int, number: int, random: np.random.Generator, attempt: int) -> Units:
    shifts = np.random.default_rng(seed).random(len(space)) if attempt == 0 else random.random(len(space))
    units = ((_halton(number + 1, prime) + shift) % 1 for prime, shift in zip(PRIMES, shifts, strict=False))
    return {path: _place(space[path], float(unit)) for path, unit in zip(space, units, strict=True)}


def _halton(number: int, base: int) -> float:
    """The radical inverse of a number: its digits mirrored at the point."""
    share, value = 1.0, 0.0
    while number:
        number, digit = divmod(number, base)
        share /= base
        value += share * digit
    return value


def _promising(
    space: Mapping[str, Dimension], seen: Sequence[tuple[Units, float]], random: np.random.Generator
) -> Units:
    ranked = sorted(seen, key=lambda trial: -trial[1])
    count = math.ceil(GOOD * len(ranked))
    good, rest = ([units for units, _ in part] for part in (ranked[:count], ranked[count:]))
    best, most = {}, -math.inf
    for _ in range(DRAWS):
        units = {path: _like(space[path], [one[path] for one in good], random) for path in space}
        gain = sum(
            _log_density(space[path], unit, [one[path] for one in good])
            - _log_density(space[path], unit, [one[path] for one in rest])
            for path, unit in units.items()
        )
        if gain > most:
            best, most = units, gain
    return best


def _like(dimension: Dimension, places: Sequence[float], random: np.random.Generator) -> float:
    """A place that is like one of these; like none of them as often as like any one."""
    at = int(random.integers(len(places) + 1))
    if not isinstance(dimension, Range):
        return float(random.integers(len(dimension))) if at == len(places) else places[at]
    if at == len(places):
        return float(random.random())
    while not 0 <= (place := float(random.normal(places[at], _width(places)))) <= 1:
        pass
    return place


def _log_density(dimension: Dimension, place: float, places: Sequence[float]) -> float:
    if not isinstance(dimension, Range):
        return math.log((1 / len(dimension) + sum(one == place for one in places)) / (len(places) + 1))
    width = _width(places)
    density = 1.0 + sum(_normal((place - one) / width) / (width * _within(one, width)) for one in places)
    return math.log(density / (len(places) + 1))


def _width(places: Sequence[float]) -> float:
    return max(WIDTH, 0.5 / math.sqrt(len(places))) if places else 1.0


def _normal(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _within(mean: float, width: float) -> float:
    """The share of a normal distribution that lies between 0 and 1."""
    return 0.5 * (math.erf((1 - mean) / width / math.sqrt(2)) + math.erf(mean / width / math.sqrt(2)))


def _place(dimension: Dimension, unit: float) -> float:
    return unit if isinstance(dimension, Range) else float(int(unit * len(dimension)))


def _value(dimension: Dimension, place: float) -> Drawn:
    return dimension.value(place) if isinstance(dimension, Range) else dimension[int(place)]


def _units(space: Mapping[str, Dimension], point: Mapping[str, Drawn]) -> Units:
    units = {}
    for path, dimension in space.items():
        value = point[path]
        if isinstance(dimension, Range):
            assert isinstance(value, int | float)
            units[path] = dimension.unit(value)
        else:
            units[path] = float(dimension.index(value))
    return units
