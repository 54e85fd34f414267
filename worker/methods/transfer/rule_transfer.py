"""`rule_transfer`: the rule that the source was trained by, for a network on the target."""

from dataclasses import replace

import torch

from app.contract.inputs import InputSpec
from app.contract.layers import for_input, with_classes
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.contract.transfer import TensorReport, TransferReport
from app.methods.transfer.rule_transfer import RuleTransfer
from worker.methods import inputs, supervision, transferred
from worker.methods.task import Adapted, Task
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.runtime.run import Run


def run(task: Task, params: RuleTransfer) -> Adapted:
    """Train under the rule; then, if there are test labels to tell the two apart, without it."""
    rule = _rule(task)
    spec = params.network or with_classes(task.known_source.network, len(task.target.classes))
    usual = inputs.default(spec, task.target, task.run)
    input = params.input_under(rule, task.known_source.input) or usual
    compared = params.ablation and len(task.target.labelled("test")) > 0
    if compared:
        _require_buildable(spec, usual)
    ruled = _train(task, params.under(rule), spec, input, task.run, runs=1 + compared)
    followed = Recipe.of(ruled.params, input).model_dump(mode="json", include={"version", *params.rule})
    ruled = replace(ruled, transfer=ruled.transfer | {"rule": followed})
    if not compared:
        return ruled
    bare = _train(task, ruled.params.without(), spec, usual, task.run.part("without"), runs=2)
    return replace(ruled, without=bare)


def _rule(task: Task) -> Recipe:
    recipe = task.known_source.recipe
    if recipe is None:
        raise Failure("does_not_fit", "The source has no recipe to follow.")
    return recipe


def _require_buildable(spec: NetworkSpec, input: InputSpec) -> None:
    """Said before the first training, not after it.

    Raises:
        Failure: see `build.build`.
    """
    with torch.random.fork_rng(devices=[]):
        Structure.of(build.shell(for_input(spec, input), input), input)


def _train(task: Task, params: RuleTransfer, spec: NetworkSpec, input: InputSpec, run: Run, runs: int) -> Adapted:
    """One of `runs` trainings.  Each finds the random numbers as they are now: weights and dropout are drawn alike."""
    source, spec, classes = task.known_source, for_input(spec, input), task.target.classes
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        network = build.build(spec, input)
        learner = Classifier(network, Structure.of(network, input), input, classes)
        kept = params.weights and classes == source.classes and task.same_kind
        report = transferred.take_over(source, learner, with_head=kept) if params.weights else TensorReport()
        device.place(network, run.device)
        examples = supervision.examples(run, task.target, params, input, classes)
        params = params.resolve(len(examples.train), input.size)
        run.expect(runs * supervision.steps(params.schedule, examples))
        companions = supervision.learn(task, learner, params, examples, run=run)
    transfer = TransferReport(
        tensors=report,
        head="kept" if kept else "new",
        adapters=transferred.adapters(task.target, input),
    )
    return Adapted(learner, spec, params, examples.use, transfer, source_head=companions.get("lwf"))
