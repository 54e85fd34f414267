"""Learning from labels, as every method with a training loop does it: data within the budget, recipe, loop."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.imaging.packed import Split
from app.methods.training import LabelBudget, Schedule, Training
from worker.data import batches as data
from worker.data import mix, targets, transforms
from worker.data.batches import Images, Prepare, Shuffled
from worker.methods import objective
from worker.methods.task import Domain, LabelUse, Task
from worker.networks.classifier import Classifier
from worker.runtime.contract import Failure
from worker.runtime.run import Run
from worker.training import evaluate, frozen_prefix, precision
from worker.training.freezing import Scope
from worker.training.frozen_prefix import FrozenPrefix
from worker.training.precision import Numerics, Precision, Workload
from worker.training.trainer import Trainer


@dataclass(frozen=True)
class Whole:
    """All `count` labelled images of a split, made when they are asked for, and the places among them of those that a
    run may see."""

    images: Callable[[], Images]
    count: int
    place_N: Tensor


@dataclass(frozen=True)
class Examples:
    """Images that a run may learn from and select by, on the network's input size; validation may be empty.

    `whole`: what these are of, by split, where that is known.  Its labels are not for a method.
    `oversampled`: makes the training images with more pixels, where they are stored with more.
    """

    train: Images
    validation: Images
    whole: Mapping[Split, Whole] = field(default_factory=dict)
    oversampled: Callable[[], Images] | None = None

    @property
    def use(self) -> LabelUse:
        return LabelUse(len(self.train), len(self.validation))


def examples(run: Run, domain: Domain, params: LabelBudget, input: InputSpec, classes: list[str]) -> Examples:
    """The target's training and validation images within the label budget.

    Raises:
        Failure: `does_not_fit`, there is nothing to learn from.
    """
    train = domain.within(domain.labelled("train"), params, run.seed)
    validation = domain.within(domain.labelled("validation"), params, run.seed)
    larger = domain.oversampled(input)
    split_examples = Examples(
        domain.examples(train, input, classes),
        domain.examples(validation, input, classes),
        {"train": _whole(domain, "train", train, input), "validation": _whole(domain, "validation", validation, input)},
        (lambda: domain.examples(train, larger, classes)) if larger else None,
    )
    if not len(split_examples.train):
        raise Failure("does_not_fit", "The training split has no labelled image of the network's classes.")
    return split_examples


def _whole(domain: Domain, split: Split, rows: NDArray[np.int64], input: InputSpec) -> Whole:
    every = domain.labelled(split)
    place_N = torch.from_numpy(np.searchsorted(every, rows))
    return Whole(lambda: domain.examples(every, input, domain.classes), len(every), place_N)


def learn(
    task: Task,
    learner: Classifier,
    params: Training,
    examples: Examples,
    scope: Scope | None = None,
    *,
    run: Run | None = None,
) -> dict[str, nn.Module]:
    """Minimise the objective over the training images; the network ends with the weights that validated best.

    `params` are resolved.  `scope` says what learns, and how fast: left out, everything.  `run` is the part of the
    task's run that this is, if it is not all of it.

    Returns:
        What has learned beside the network, by the name of its term.
    """
    run, scope, schedule = run or task.run, scope or Scope(), params.schedule
    if not any(True for path in learner.structure.heads for _ in learner.module.get_submodule(path).parameters()):
        message = "The head of this network was fitted, not trained by gradients: start from the network beneath it."
        raise Failure("does_not_fit", message)
    train, validation = examples.train.to(run.device), examples.validation.to(run.device)
    source = None if task.source is None else task.source.network
    prefix = frozen_prefix.find(source, learner, params, train, validation, scope.trainable, run)
    numerics = _numerics(run, learner, params, examples, whole=prefix is None)
    feed = prefix or PixelFeed(run, learner, params, numerics.memory_format, examples.oversampled)
    student = replace(learner, module=feed.network)
    with precision.kept(numerics, learner.module), _compiled(run, numerics, feed, train, params):
        loss = objective.build(task, student, params, train, lambda: feed.in_order(train))
        Trainer(run, learner, schedule, scope, companions=loss.modules).fit(
            feed.batches(train, schedule.batch_size, drawing(params, train.label_N, learner)),
            precision.cast(numerics, run.device, loss),
            evaluate.validator(run, feed.network, lambda: feed.in_order(validation), schedule.metric)
            if len(validation)
            else None,
        )
    return loss.modules


class PixelFeed:
    """The pixels that a network learns from, where all of it learns, or where every epoch sees other pixels."""

    def __init__(
        self,
        run: Run,
        learner: Classifier,
        params: Training,
        layout: torch.memory_format,
        oversampled: Callable[[], Images] | None = None,
    ) -> None:
        self.network, self._run = learner.module, run
        self._prepare = Prepare(learner.input, run.device, layout)
        steps = params.schedule.augmentation
        self._augment = transforms.compose(steps, learner.input.size)
        self._oversampled = oversampled if transforms.cuts(steps) else None
        self._mix = mix.compose(params.mixing)

    def batches(self, images: Images, batch_size: int, weight_N: Tensor | None) -> Shuffled:
        return data.image_batches(
            self._run,
            images if self._oversampled is None else self._oversampled().to(self._run.device),
            prepare=self._prepare,
            batch_size=batch_size,
            augment=self._augment,
            mix=self._mix,
            weight_N=weight_N,
        )

    def in_order(self, images: Images) -> evaluate.Split:
        return evaluate.image_batches(self._run, images, self._prepare)


def _numerics(run: Run, learner: Classifier, params: Training, examples: Examples, *, whole: bool) -> Numerics:
    """Layout and precision as the parameters say; where they ask for a trial, by one of the `whole` network.  Terms
    look into the network, and stay with float32."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    if params.precision != "auto" or params.terms:
        precisions = ("bfloat16",) if params.precision == "bfloat16" else ("float32",)
    declared = replace(precision.usual(learner.module), precision=precisions[0])
    if "auto" not in (params.precision, params.layout):
        return declared
    if run.numerics is None and not whole:
        run.numerics = vars(declared)  # a trial of later parts would compare two trainings that were computed otherwise
    shape = (learner.input.channels, *learner.input.size)
    schedule, layouts = params.schedule, params.layout == "auto"
    work = Workload(
        shape, min(schedule.batch_size, len(examples.train)), steps(schedule, examples), precisions, layouts
    )
    return precision.settle(run, learner.module, work)


def _compiled(
    run: Run, numerics: Numerics, feed: FrozenPrefix | PixelFeed, train: Images, params: Training
) -> AbstractContextManager[None]:
    if not params.compile:
        return nullcontext()
    example, _ = next(iter(feed.in_order(train)))
    return precision.compiled(run, numerics, feed.network, example[: params.schedule.batch_size])


def drawing(params: Training, label_N: Tensor, learner: Classifier) -> Tensor | None:
    """Weights by which examples are drawn; None: each once."""
    if params.sampling is None or learner.classes is None:
        return None
    group_N = targets.of(label_N).groups(label_N, len(learner.classes))
    return targets.balanced(group_N, len(learner.classes))[group_N]


def steps(schedule: Schedule, examples: Examples) -> int:
    """Optimiser steps of a training, where it is not stopped early."""
    return schedule.epochs * (len(data.bounds(len(examples.train), schedule.batch_size)) - 1)
