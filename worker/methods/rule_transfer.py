"""`rule_transfer`: the rule that the source was trained by, for a network on the target."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from app.methods.inputs import InputSpec
from app.methods.layers import for_input, with_classes
from app.methods.networks import NetworkSpec
from app.methods.recipe import Recipe
from app.methods.rule_transfer import RuleTransfer
from worker.engine import device, scores
from worker.engine.contract import Failure
from worker.engine.run import Run
from worker.engine.scores import Judged
from worker.methods import inputs, measure, supervised, transferred
from worker.methods.supervised import Examples
from worker.methods.task import Adapted, Task
from worker.networks import anatomy, build
from worker.terms.base import Frame


@dataclass(frozen=True)
class _Trained:
    """What came of one of two trainings, which differ by the rule alone."""

    spec: NetworkSpec
    learner: Frame
    params: RuleTransfer
    seen: Examples
    report: dict[str, Any]
    source_head: nn.Module | None


def rule_transfer(task: Task, params: RuleTransfer) -> Adapted:
    """Under the rule; then, if there are test labels to tell the two apart, without it."""
    source, rule = task.known_source, _rule(task)
    spec = params.network or with_classes(source.network, len(task.target.classes))
    usual = inputs.default(spec, task.target)
    input = params.input_under(rule, source.input) or usual
    compared = params.ablation and len(task.target.labelled("test")) > 0
    if compared:
        _require_buildable(spec, usual)
    ruled = _train(task, params.under(rule), spec, input, task.run, runs=1 + compared)
    ablation = None
    if compared:
        bare = _train(task, ruled.params.without(), spec, usual, task.run.part("without"), runs=2)
        ablation = _compare(task, ruled, bare)
    transfer = {
        "tensors": ruled.report,
        "head": "kept" if params.weights and task.target.classes == source.classes else "new",
        "adapters": transferred.adapters(task.target, input),
        "rule": Recipe.of(ruled.params, input).model_dump(mode="json", include={"version", *params.rule}),
        "ablation": ablation,
    }
    return Adapted.of(ruled.learner, ruled.spec, ruled.params, ruled.seen.use, transfer, ruled.source_head)


def _rule(task: Task) -> Recipe:
    recipe = Recipe.read(task.known_source.recipe)
    if recipe is None:
        raise Failure("does_not_fit", "The source has no recipe to follow.")
    return recipe


def _require_buildable(spec: NetworkSpec, input: InputSpec) -> None:
    """Said before the first training, not after it.

    Raises:
        Failure: see `build.build`.
    """
    with torch.random.fork_rng(devices=[]):
        anatomy.study(build.shell(for_input(spec, input), input), input)


def _train(task: Task, params: RuleTransfer, spec: NetworkSpec, input: InputSpec, run: Run, runs: int) -> _Trained:
    """One of `runs` trainings.  Each finds the random numbers as they are now: weights and dropout are drawn alike."""
    spec, classes = for_input(spec, input), task.target.classes
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        network = build.build(spec, input)
        learner = Frame(network, anatomy.study(network, input), input, classes)
        report = transferred.take_over(task.known_source, learner) if params.weights else {}
        device.place(network, run.device)
        seen = supervised.examples(run, task.target, params, input, classes)
        params = params.resolve(len(seen.train), input.size)
        run.expect(runs * supervised.steps(params, seen))
        beside = supervised.learn(task, learner, params, seen, run=run)
    return _Trained(spec, learner, params, seen, report, beside.get("lwf"))


def _compare(task: Task, ruled: _Trained, bare: _Trained) -> dict[str, Any] | None:
    """Both on the target's test split, image by image; `helped` is null where the interval leaves it open."""
    with_rule, without = (_judged(task, trained.learner) for trained in (ruled, bare))
    if with_rule is None or without is None:
        return None
    difference = scores.paired(with_rule, without)
    helped = True if difference.low > 0 else False if difference.high < 0 else None
    return {
        "with": _figures(with_rule, ruled.learner.input),
        "without": _figures(without, bare.learner.input),
        **difference.document(),
        "helped": helped,
    }


def _judged(task: Task, learner: Frame) -> Judged | None:
    return measure.on_test_images(task.run, learner.network, learner.input, learner.classes, task.target)


def _figures(judged: Judged, input: InputSpec) -> dict[str, Any]:
    right = int((judged.truth_N == judged.predicted_N).sum())
    return {
        "n": len(judged),
        "accuracy": judged.accuracy,
        "accuracy_interval": list(scores.wilson(right, len(judged))),
        "nll": judged.nll,
        "input": input.model_dump(mode="json"),
    }
