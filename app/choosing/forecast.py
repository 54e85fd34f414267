"""Forecasts: what accuracy each method would reach from each checkpoint, with an interval, before any training.

The logit of a method's accuracy is that of a ridge regression on the checkpoint's features, as the evidence has it, and
what the method was above such a regression in the past.  Both are uncertain, the first by the number of images, the
second by how much the past pairs differ; `DRAWS` of both together say how probable it is that a choice is the best.
The reasons are the terms of the sum.  Nothing depends on the clock, or on the order of what is asked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

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
SCRATCH = Offset(0.15, 0.75, 17)  # `train`, above the regression on the best features that are there
MethodName = Literal["evaluate", "linear_probe", "fine_tune", "lp_ft", "train"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
UNCHANGED: MethodName = "evaluate"
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
    measured = {one.checkpoint: one for one in evidence}
    choices = [
        choice
        for candidate in sorted(question.candidates, key=lambda one: one.id)
        if candidate.id in measured
        for choice in _of_checkpoint(question, candidate, measured[candidate.id])
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


def _of_checkpoint(question: Question, candidate: CandidateFacts, found: Evidence) -> list[_Choice]:
    choices = []
    methods = [name for name in question.methods if candidate.methods is None or name in candidate.methods]
    if "evaluate" in methods and found.unchanged is not None and candidate.knows_classes:
        choices.append(_unchanged(candidate, found.unchanged))
    if found.probe is None:
        return choices
    head: Head = "kept" if candidate.keeps_head else "new"
    base_N = _draws(found.probe, candidate.id, "features")
    said = f"A ridge regression on its features is right on {_share(found.probe)}."
    for method in ("linear_probe", "fine_tune", "lp_ft"):
        if method not in methods:
            continue
        offset, past = _with_history(OFFSETS[method, head], method, question.history)
        noise_N = _random(candidate.id, method).normal(offset.mean, offset.deviation, DRAWS)
        terms = [
            Contribution(tier=3, name="ridge", value=found.probe.accuracy, contribution=_logit(found.probe)),
            Contribution(tier=0, name=method, value=None, contribution=OFFSETS[method, head].mean),
        ]
        if past:
            shift = offset.mean - OFFSETS[method, head].mean
            terms.append(Contribution(tier=1, name="history", value=float(past), contribution=shift))
        reasons = [said, _said(method, head, OFFSETS[method, head])]
        if past:
            reasons.append(f"{past} of your finished jobs moved that by {terms[-1].contribution:+.2f}.")
        choices.append(_Choice(candidate, method, _accuracy(base_N + noise_N), terms, reasons))
    return choices


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
    share = _smoothed(measured)
    deviation = 1 / math.sqrt(measured.n * share * (1 - share))
    return _random(*of).normal(_logit(measured), deviation, DRAWS)


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


def _said(method: str, head: Head, offset: Offset) -> str:
    return f"`{method}` with a {head} head was {_above(offset)} such a regression on {offset.pairs} pairs measured."


def _above(offset: Offset) -> str:
    return f"{offset.mean:+.2f} ± {offset.deviation:.2f} logits above"
