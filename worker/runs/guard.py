"""The guard of a transfer, whether it helped: the same labels and the same number of steps, spent otherwise."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.contract.evaluation import Guard, Opponent, OpponentName
from app.contract.inputs import InputOverride
from app.methods.supervised.linear_probe import LinearProbe
from app.methods.supervised.train import Train
from app.methods.training import Training
from app.methods.utilities.evaluate import Evaluate
from worker.methods import measure
from worker.methods.supervised import linear_probe, train
from worker.methods.task import Adapted, Task
from worker.methods.utilities import evaluate
from worker.metrics import scores
from worker.metrics.scores import Difference, Verdict
from worker.runtime.contract import Note

CONTENDERS = 2  # that are trained
VERDICTS = {True: "The transfer helped", False: "The transfer HARMED", None: "Whether the transfer helped is not clear"}


@dataclass(frozen=True)
class Contender:
    """An alternative to the method; `adapted` is None where it cannot be had, for `reason`."""

    name: OpponentName
    adapted: Adapted | None
    reason: str | None = None


def expect(task: Task, params: Training) -> None:
    """Announce the optimiser steps of the method and of those that it is compared with."""
    count = len(task.target.within(task.target.labelled("train"), params, task.run.seed))
    if count:
        closed = params.resolve(count, task.known_source.input.size)
        steps = closed.all_epochs * math.ceil(count / (closed.batch_size or 1))
        task.run.foresee((1 + CONTENDERS) * steps)


def contenders(task: Task, adapted: Adapted) -> list[Contender]:
    """The source unchanged, a linear probe on it and a network from scratch; none of them is measured yet."""
    return [_unchanged(task, adapted), *_probe(task, adapted), _scratch(task, adapted)]


def judge(task: Task, adapted: Adapted, against: list[Contender]) -> Guard | None:
    """Compare the adapted network with its alternatives on the target's test split, and say what that means for the
    transfer.

    Each difference is the adapted network's accuracy less the contender's, on the same images, with its 95 % interval.
    `helped` is against a network from scratch; null where the interval holds zero.  None without labelled test images.
    """
    own = measure.judged(task.run, adapted, task.target)
    if own is None:
        return None
    lines: list[Opponent] = []
    gaps: dict[str, Difference] = {}
    for contender in against:
        if contender.adapted is None:
            lines.append(Opponent(name=contender.name, reason=contender.reason))
            continue
        other = measure.judged(task.run, contender.adapted, task.target)
        if other is not None:
            gaps[contender.name] = scores.paired(own, other)
            lines.append(_line(contender.name, other, gaps[contender.name]))
    regressions = [name for name, gap in gaps.items() if gap.high < 0]
    verdict = _verdict(gaps, regressions)
    if regressions:
        task.run.emit(Note("regression", verdict, "warning"))
    return Guard(against=lines, helped=_sign(gaps["scratch"]), regressions=regressions, verdict=verdict)


def against_unchanged(task: Task, adapted: Adapted) -> Guard | None:
    """Compare the adapted network with the unchanged source alone; `helped` is against that.

    None where the source cannot say the classes, or there are no labelled test images.
    """
    contender = _unchanged(task, adapted) if task.source is not None else None
    if contender is None or contender.adapted is None:
        return None
    own = measure.judged(task.run, adapted, task.target)
    other = measure.judged(task.run, contender.adapted, task.target)
    if own is None or other is None:
        return None
    gap = scores.paired(own, other)
    helped = _sign(gap)
    verdict = f"{VERDICTS[helped]}: {_points(gap)} against the unchanged source."
    if helped is False:
        task.run.emit(Note("regression", verdict, "warning"))
    regressions = [contender.name] if helped is False else []
    against = [_line(contender.name, other, gap)]
    return Guard(against=against, helped=helped, regressions=regressions, verdict=verdict)


def _unchanged(task: Task, adapted: Adapted) -> Contender:
    if task.known_source.untrained_head:
        return Contender("unchanged", None, "The source's head was drawn at random.")
    known = set(task.known_source.classes or ())
    if not set(adapted.classifier.classes or ()) <= known or not task.same_kind:
        return Contender("unchanged", None, "The source does not know the target's classes.")
    return Contender("unchanged", evaluate.run(task, Evaluate(input=_override(task, adapted))))


def _probe(task: Task, adapted: Adapted) -> Iterator[Contender]:
    if isinstance(adapted.params, LinearProbe):
        return
    if adapted.classifier.input.channels != task.known_source.input.channels:
        yield Contender("linear_probe", None, "The source takes images of other channels.")
        return
    params = LinearProbe(input=_override(task, adapted), **_budget(adapted.params))
    yield Contender("linear_probe", linear_probe.run(_part(task, "linear_probe"), params))


def _scratch(task: Task, adapted: Adapted) -> Contender:
    params = Train(
        network=adapted.spec,
        input=adapted.classifier.input,
        augmentation=adapted.params.augmentation or "auto",
        **_budget(adapted.params),
    )
    return Contender("scratch", train.run(replace(_part(task, "scratch"), source=None, source_domain=None), params))


def _part(task: Task, name: str) -> Task:
    return replace(task, run=task.run.part("guard").part(name))


def _budget(params: Training) -> dict[str, object]:
    """The budget that the contenders share with the method: labels, steps, and how they are computed."""
    names = ("labels_per_class", "train_size", "batch_size", "early_stopping", "precision", "layout")
    return {name: getattr(params, name) for name in names} | {"epochs": params.all_epochs}


def _override(task: Task, adapted: Adapted) -> InputOverride:
    same_size = adapted.classifier.input.size == task.known_source.input.size
    return InputOverride(
        fit=adapted.classifier.input.fit, margin=adapted.classifier.input.margin if same_size else None
    )


def _line(name: OpponentName, other: Verdict, gap: Difference) -> Opponent:
    right = int(other.hits.sum())
    return Opponent(
        name=name,
        accuracy=other.accuracy,
        accuracy_interval=scores.wilson(right, len(other)),
        difference=gap.value,
        interval=gap.interval,
    )


def _sign(gap: Difference) -> bool | None:
    if gap.low > 0:
        return True
    return False if gap.high < 0 else None


def _verdict(gaps: dict[str, Difference], regressions: list[str]) -> str:
    scratch = gaps["scratch"]
    against = f"{VERDICTS[_sign(scratch)]}: {_points(scratch)} against a network from scratch at the same budget."
    worse = [f"{name} ({_points(gaps[name])})" for name in regressions if name != "scratch"]
    return against + (f" It is WORSE than {', '.join(worse)}." if worse else "")


def _points(gap: Difference) -> str:
    return f"{gap.value * 100:+.1f} points (95 %: {gap.low * 100:+.1f} to {gap.high * 100:+.1f})"
