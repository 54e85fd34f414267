"""Forecasts: what accuracy each method would reach from each checkpoint, with an interval, before any training.

The logit of a method's accuracy is that of a ridge regression on the checkpoint's features, as the evidence has it, and
what the method was above such a regression in the past.  Both are uncertain, the first by the number of images, the
second by how much the past pairs differ; `DRAWS` of both together say how probable it is that a choice is the best.
Other scores of the same features have a say in where a checkpoint stands among the others.
Where the owner's finished jobs say how checkpoints stood among each other on other images, that is a second opinion,
and each counts by its precision; before any features are seen it is the only one.  The reasons are the terms of the
sum.  Nothing depends on the clock, or on the order of what is asked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from app.choosing.consensus import Placed, placed
from app.choosing.history import NOTHING, PastStanding, PastStandings
from app.contract.recommendation import Contribution, Evidence, Forecast, Forecasts, MeasuredAccuracy, Predicted

DRAWS = 4000
COVERED = (0.05, 0.95)  # quantiles between which the truth is in 90 of 100 cases
WORTHWHILE = 0.01  # of accuracy, that a better answer has to be worth
FEW = 200  # images: with fewer a choice hangs on them more than on the methods
LABEL_NEXT = 24  # images, where there are none yet

Head = Literal["kept", "new"]
Floats = NDArray[np.float64]


class Offset(NamedTuple):
    """A method above a ridge regression on the same features, in logits, over `pairs` of source, target and budget."""

    mean: float
    deviation: float
    pairs: int


# Measured on pairs of benchmarks/default_pairs.py; docs/choosing.md.  The deviation is what the number of images does
# not explain.
OFFSETS: Mapping[tuple[str, Head], Offset] = {
    ("linear_probe", "new"): Offset(0.0, 0.36, 18),
    ("linear_probe", "kept"): Offset(0.0, 0.36, 18),
    ("fine_tune", "new"): Offset(0.54, 0.55, 16),
    ("fine_tune", "kept"): Offset(0.85, 0.35, 3),
    ("lp_ft", "new"): Offset(0.39, 0.57, 14),
    ("lp_ft", "kept"): Offset(0.28, 0.4, 3),
}
SHARED = 0.7  # of the variance around what features tell: all checkpoints on the same images have that in common
SCRATCH = Offset(0.15, 0.75, 17)  # `train`, above the regression on the best features that are there
MethodName = Literal["evaluate", "linear_probe", "fine_tune", "lp_ft", "train"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
UNCHANGED: MethodName = "evaluate"
LEARNING: tuple[MethodName, ...] = ("linear_probe", "fine_tune", "lp_ft")  # from a checkpoint and labels
FROZEN: tuple[MethodName, ...] = ("evaluate", "linear_probe")  # leave the source's features as they are


@dataclass(frozen=True)
class CandidateFacts:
    """A checkpoint, as it is known without a look at an image.

    `knows_classes`: its head has the dataset's classes by name; `keeps_head`: it has these and no others.  `methods`
    are those that fit it; None: all.
    """

    id: str
    name: str
    parameters: int | None
    knows_classes: bool
    keeps_head: bool
    methods: Sequence[str] | None = None


@dataclass(frozen=True)
class Past:
    """A finished job: how far its test accuracy was above the regression on its checkpoint's features, in logits."""

    method: str
    residual: float


@dataclass(frozen=True)
class Question:
    """`labels` a class may be seen: None is all, 0 none.  `scratch`: there is a network that could learn from
    nothing."""

    labels: int | None
    candidates: Sequence[CandidateFacts]
    methods: Sequence[str] = METHODS
    scratch: bool = True
    history: Sequence[Past] = field(default=())
    standings: PastStandings = NOTHING  # of the candidates, by their ids


@dataclass(frozen=True)
class _Choice:
    checkpoint: CandidateFacts | None
    method: str
    draws_N: Floats  # accuracies
    terms: list[Contribution]
    reasons: list[str]

    @property
    def id(self) -> str | None:
        return None if self.checkpoint is None else self.checkpoint.id


def forecast(question: Question, evidence: Sequence[Evidence]) -> Forecasts:
    """All choices that anything can be said of, the best first."""
    seen = _Seen.of(question, evidence)
    choices = [
        choice
        for candidate in sorted(question.candidates, key=lambda one: one.id)
        for choice in _of_checkpoint(question, candidate, seen)
    ]
    if "train" in question.methods and question.scratch:
        choices += _from_scratch(question, evidence)
    if not choices:
        return _nothing(question, evidence)
    accuracy_CN = np.stack([choice.draws_N for choice in choices])
    best_C = np.bincount(accuracy_CN.argmax(0), minlength=len(choices)) / accuracy_CN.shape[1]
    order = sorted(range(len(choices)), key=lambda c: (-float(accuracy_CN[c].mean()), c))
    baselines = _Baselines.among(choices)
    entries = [_entry(rank, choices[c], float(best_C[c]), baselines) for rank, c in enumerate(order, start=1)]
    unsure, to_decide = _open_question(accuracy_CN, order[0], evidence)
    return Forecasts(
        entries=entries,
        unchanged=baselines.of_all,
        scratch=None if baselines.scratch_N is None else float(baselines.scratch_N.mean()),
        abstains=False,
        because=unsure,
        to_decide=to_decide,
    )


@dataclass(frozen=True)
class _Seen:
    """The evidence, by candidate, and where it places the candidates among each other."""

    evidence: Mapping[str, Evidence]
    placed: Mapping[str, Placed]

    @classmethod
    def of(cls, question: Question, evidence: Sequence[Evidence]) -> "_Seen":
        asked = {one.id for one in question.candidates}
        found = {one.checkpoint: one for one in evidence if one.checkpoint in asked}
        return cls(found, placed({id_: _logit(one.probe) for id_, one in found.items() if one.probe}, found))

    def mean(self, id_: str, probe: MeasuredAccuracy) -> float:
        """The logit that features tell, before what a method adds."""
        return _logit(probe) + (self.placed[id_].shift if id_ in self.placed else 0.0)


def _of_checkpoint(question: Question, candidate: CandidateFacts, seen: _Seen) -> list[_Choice]:
    methods = [name for name in question.methods if candidate.methods is None or name in candidate.methods]
    found, choices = seen.evidence.get(candidate.id), []
    if "evaluate" in methods and found is not None and found.unchanged is not None and candidate.knows_classes:
        choices.append(_unchanged(candidate, found.unchanged))
    for method in LEARNING:
        if method not in methods:
            continue
        if found is not None and found.probe is not None:
            choices.append(_by_features(question, candidate, method, found.probe, seen))
        elif found is None or not found.failure:
            choices += _by_history(question.standings, candidate, method)
    return choices


def _by_features(
    question: Question,
    candidate: CandidateFacts,
    method: str,
    probe: MeasuredAccuracy,
    seen: _Seen,
) -> _Choice:
    head: Head = "kept" if candidate.keeps_head else "new"
    prior = OFFSETS[method, head]
    offset, past = _with_history(prior, method, question.history)
    noise_N = _random(candidate.id, method).normal(offset.mean, offset.deviation, DRAWS)
    logit_N = _draws(probe, candidate.id, "features") + noise_N
    terms = [Contribution(tier=3, name="ridge", value=probe.accuracy, contribution=_logit(probe))]
    reasons = [f"A ridge regression on its features is right on {_share(probe)}."]
    place = seen.placed.get(candidate.id)
    if place is not None:
        logit_N = logit_N + place.shift
        terms.append(Contribution(tier=2, name="scores", value=place.z, contribution=place.shift))
        reasons.append(
            f"With other scores it is {place.z:+.1f} deviations from the mean of {len(seen.placed)} checkpoints: that "
            f"moves it by {place.shift:+.2f}."
        )
    terms.append(Contribution(tier=0, name=method, value=None, contribution=prior.mean))
    reasons.append(_said(method, head, prior))
    if past:
        shift = offset.mean - prior.mean
        terms.append(Contribution(tier=1, name="history", value=float(past), contribution=shift))
        reasons.append(f"{past} of your finished jobs moved that by {shift:+.2f}.")
    opinion = _second_opinion(question, candidate, method, seen)
    if opinion is not None:
        mean = seen.mean(candidate.id, probe) + offset.mean
        logit_N = mean + opinion.shift + (logit_N - mean) * opinion.narrowed
        standing = question.standings.checkpoints[candidate.id]
        terms.append(Contribution(tier=1, name="standing", value=standing.z, contribution=opinion.shift))
        reasons.append(f"{_stood(standing)}: that moves it by {opinion.shift:+.2f}.")
    return _Choice(candidate, method, _accuracy(logit_N), terms, reasons)


def _by_history(past: PastStandings, candidate: CandidateFacts, method: str) -> list[_Choice]:
    """The choice as finished jobs alone foretell it; none where there are none."""
    standing, level = past.checkpoints.get(candidate.id), past.methods.get(method)
    if standing is None or level is None:
        return []
    above = level.spread * standing.expected
    level_N = _random("level", method).normal(level.mean, level.unsure, DRAWS)  # the same for all checkpoints
    own_N = _random(candidate.id, method).normal(above, level.spread * standing.deviation, DRAWS)
    terms = [
        Contribution(tier=1, name=method, value=float(level.targets), contribution=level.mean),
        Contribution(tier=1, name="standing", value=standing.z, contribution=above),
    ]
    share = 1 / (1 + math.exp(-level.mean))
    reasons = [
        f"On {_targets(level.targets)} `{method}` came to about {100 * share:.0f} %.",
        f"{_stood(standing)}; its features were not looked at.",
    ]
    return [_Choice(candidate, method, _accuracy(level_N + own_N), terms, reasons)]


class _Opinion(NamedTuple):
    """A change of a forecast by features, for what finished jobs on other images tell: in logits, and the factor by
    which its deviation is less."""

    shift: float
    narrowed: float


def _second_opinion(question: Question, candidate: CandidateFacts, method: str, seen: _Seen) -> _Opinion | None:
    """Weigh where the candidate stood elsewhere against where its features place it among the same candidates.

    Finished jobs tell differences alone: the level is that of the features, whose error `SHARED` of the variance is.
    None where fewer than two candidates have both.
    """
    level = question.standings.methods.get(method)
    if level is None or candidate.id not in question.standings.checkpoints:
        return None
    own: dict[str, tuple[float, float]] = {}
    elsewhere: dict[str, float] = {}
    for one in sorted(question.candidates, key=lambda one: one.id):
        found, standing = seen.evidence.get(one.id), question.standings.checkpoints.get(one.id)
        fits = one.methods is None or method in one.methods
        if found is None or found.probe is None or standing is None or not fits:
            continue
        offset, _ = _with_history(OFFSETS[method, "kept" if one.keeps_head else "new"], method, question.history)
        own[one.id] = (seen.mean(one.id, found.probe) + offset.mean, offset.deviation**2 + _variance(found.probe))
        elsewhere[one.id] = level.spread * standing.expected
    if len(own) < 2 or candidate.id not in own:
        return None
    common = sum(mean - elsewhere[id_] for id_, (mean, _) in own.items()) / len(own)
    mean, variance = own[candidate.id]
    alone = (1 - SHARED) * variance
    theirs = (level.spread * question.standings.checkpoints[candidate.id].deviation) ** 2
    weight = alone / (alone + theirs)
    shift = weight * (common + elsewhere[candidate.id] - mean)
    return _Opinion(shift, math.sqrt(SHARED + (1 - SHARED) * (1 - weight)))


def _unchanged(candidate: CandidateFacts, measured: MeasuredAccuracy) -> _Choice:
    term = Contribution(tier=2, name="unchanged", value=measured.accuracy, contribution=_logit(measured))
    reason = f"As it is, it is right on {_share(measured)}."
    return _Choice(candidate, "evaluate", _accuracy(_draws(measured, candidate.id, "evaluate")), [term], [reason])


def _from_scratch(question: Question, evidence: Sequence[Evidence]) -> list[_Choice]:
    probes = sorted(((one.probe, one.checkpoint) for one in evidence if one.probe is not None), key=lambda p: p[1])
    if not probes:
        return []
    best, id_ = max(probes, key=lambda probe: probe[0].accuracy)
    offset, _ = _with_history(SCRATCH, "train", question.history)
    noise_N = _random("scratch", "train").normal(offset.mean, offset.deviation, DRAWS)
    terms = [
        Contribution(tier=3, name="ridge", value=best.accuracy, contribution=_logit(best)),
        Contribution(tier=0, name="train", value=None, contribution=offset.mean),
    ]
    reason = (
        f"From nothing, {SCRATCH.pairs} measured trainings were {_above(SCRATCH)} a ridge regression on the best "
        "features that were there: that varies most of all."
    )
    return [_Choice(None, "train", _accuracy(_draws(best, id_, "features") + noise_N), terms, [reason])]


def _with_history(prior: Offset, method: str, history: Sequence[Past]) -> tuple[Offset, int]:
    """The prior counts as one job; each past job moves the mean, and leaves less of the deviation of the mean."""
    residuals = [past.residual for past in history if past.method == method]
    if not residuals:
        return prior, 0
    mean = (prior.mean + sum(residuals)) / (1 + len(residuals))
    spread = [(prior.mean - mean) ** 2 + prior.deviation**2, *((one - mean) ** 2 for one in residuals)]
    count = len(spread)
    return Offset(mean, math.sqrt(sum(spread) / count * (1 + 1 / count)), prior.pairs), len(residuals)


@dataclass(frozen=True)
class _Baselines:
    unchanged: Mapping[str, Floats]  # accuracies, by checkpoint
    scratch_N: Floats | None

    @classmethod
    def among(cls, choices: Sequence[_Choice]) -> "_Baselines":
        scratch = [choice.draws_N for choice in choices if choice.checkpoint is None]
        evaluated = [choice for choice in choices if choice.method == "evaluate"]
        unchanged = {one.checkpoint.id: one.draws_N for one in evaluated if one.checkpoint is not None}
        return cls(unchanged, scratch[0] if scratch else None)

    @property
    def of_all(self) -> float | None:
        """The accuracy of the best checkpoint as it is."""
        return max((float(one.mean()) for one in self.unchanged.values()), default=None)


def _entry(rank: int, choice: _Choice, best: float, baselines: _Baselines) -> Forecast:
    predicted = _predicted(choice, best, baselines)
    return Forecast(
        rank=rank,
        checkpoint=choice.id,
        method=choice.method,
        predicted=predicted,
        evidence=choice.terms,
        reasons=choice.reasons,
        warnings=_warnings(predicted),
    )


def _predicted(choice: _Choice, best: float, baselines: _Baselines) -> Predicted:
    unchanged_N = baselines.unchanged.get(choice.checkpoint.id) if choice.checkpoint else None
    low, high = np.quantile(choice.draws_N, COVERED)
    return Predicted(
        accuracy=float(choice.draws_N.mean()),
        interval=(float(low), float(high)),
        p_best=best,
        p_worse_than_unchanged=_worse(choice, unchanged_N, "evaluate"),
        p_worse_than_scratch=_worse(choice, baselines.scratch_N, "train"),
    )


def _worse(choice: _Choice, other_N: Floats | None, itself: str) -> float | None:
    if other_N is None or choice.method == itself:
        return None
    return float((choice.draws_N < other_N).mean())


def _warnings(predicted: Predicted) -> list[dict[str, str]]:
    found = []
    for code, chance, what in (
        ("may_harm", predicted.p_worse_than_unchanged, "the checkpoint unchanged"),
        ("may_not_help", predicted.p_worse_than_scratch, "a network from scratch"),
    ):
        if chance is not None and chance > 0.5:
            found.append({"code": code, "message": f"Probably worse than {what}: {100 * chance:.0f} of 100 draws."})
    return found


def _open_question(
    accuracy_CN: Floats, first: int, evidence: Sequence[Evidence]
) -> tuple[str | None, dict[str, object] | None]:
    """Say what would decide, where to know all would be worth more than `WORTHWHILE` in the mean."""
    gain = float((accuracy_CN.max(0) - accuracy_CN[first]).mean())
    if gain < WORTHWHILE or accuracy_CN.shape[0] < 2:
        return None, None
    images = max((one.probe.n for one in evidence if one.probe is not None), default=0)
    because = f"Knowing which is the best would be worth {100 * gain:.1f} points in the mean."
    kind, more = ("label", max(images, LABEL_NEXT)) if images < FEW else ("trial", 0)
    return because, {"kind": kind, "images": more, "seconds": None, "expected_gain": gain}


def _nothing(question: Question, evidence: Sequence[Evidence]) -> Forecasts:
    failures = [one.failure for one in evidence if one.failure]
    if question.labels == 0:
        because = "Without labels nothing that is measured tells the choices apart."
    elif failures:
        because = f"Nothing could be measured: {failures[0]}"
    elif evidence:
        because = "There are too few labels: a probe needs two of a class, one to learn from and one to judge by."
    else:
        because = "Nothing is measured yet."
    to_decide: dict[str, object] = {"kind": "label", "images": LABEL_NEXT, "seconds": None, "expected_gain": None}
    return Forecasts(
        entries=[],
        unchanged=None,
        scratch=None,
        abstains=True,
        because=because,
        to_decide=None if failures or not evidence else to_decide,
    )


def _draws(measured: MeasuredAccuracy, *of: str) -> Floats:
    """Logits of an accuracy of which so many images are a sample: the same for all methods on the same features."""
    return _random(*of).normal(_logit(measured), math.sqrt(_variance(measured)), DRAWS)


def _variance(measured: MeasuredAccuracy) -> float:
    """The variance of the logit that the number of images explains."""
    share = _smoothed(measured)
    return 1 / (measured.n * share * (1 - share))


def _random(*of: str) -> np.random.Generator:
    """A stream of its own for what goes by these names, whatever else is asked."""
    return np.random.default_rng(list("/".join(of).encode()))


def _smoothed(measured: MeasuredAccuracy) -> float:
    return (measured.accuracy * measured.n + 0.5) / (measured.n + 1)


def _logit(measured: MeasuredAccuracy) -> float:
    return logit(measured.accuracy, measured.n)


def logit(accuracy: float, n: int) -> float:
    """The logit of an accuracy over `n` images, which is finite also where all or none are right."""
    share = (accuracy * n + 0.5) / (n + 1)
    return math.log(share / (1 - share))


def _accuracy(logit_N: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit_N)), np.float64)


def _share(measured: MeasuredAccuracy) -> str:
    low, high = measured.interval
    return f"{100 * measured.accuracy:.0f} % of {measured.n} labelled images ({100 * low:.0f} to {100 * high:.0f})"


def _targets(count: int) -> str:
    return f"{count} other target{'s' * (count != 1)} of your finished jobs"


def _stood(standing: PastStanding) -> str:
    side = "above" if standing.z >= 0 else "below"
    return f"On {_targets(standing.targets)} it stood {abs(standing.z):.1f} deviations {side} the mean of the others"


def _said(method: str, head: Head, offset: Offset) -> str:
    return f"`{method}` with a {head} head was {_above(offset)} such a regression on {offset.pairs} pairs measured."


def _above(offset: Offset) -> str:
    return f"{offset.mean:+.2f} ± {offset.deviation:.2f} logits above"
