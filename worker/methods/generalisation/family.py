"""Learning from several labelled environments, as every such method does it; the target is measured, at the end."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from app.methods.generalisation.family import Generalisation
from worker.data import batches, transforms
from worker.data.batches import Images, Prepare
from worker.data.parallel import Parallel, Together
from worker.methods import measure, starting
from worker.methods.supervision import Examples
from worker.methods.task import Adapted, Domain, LabelUse, Task
from worker.methods.transferred import Start
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.runtime.run import Run
from worker.training import evaluate
from worker.training.protocols import Losses, Moment, Stateful, Validation
from worker.training.trainer import Trainer


@dataclass(frozen=True)
class EnvironmentOutputs:
    """One step's images by environment: logits [B,K], features [B,D] and labels [B] of each, and the risks [E] in their
    order."""

    logits: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    risk_E: Tensor


class RiskObjective(Protocol):
    """A function of the environments' risks that is minimised; `stateful` is what of it changes with the steps."""

    @property
    def stateful(self) -> Mapping[str, Stateful]: ...

    def __call__(self, outputs: EnvironmentOutputs, moment: Moment) -> Losses:
        """`loss`, and what else is to be logged."""


@dataclass(frozen=True)
class EnvironmentTraining:
    """The training that an objective is built for: so many environments, and the step at which a penalty gets its
    weight."""

    environments: int
    turn: int
    device: torch.device


Build = Callable[[EnvironmentTraining], RiskObjective]
TrainingContext = Callable[[Classifier], AbstractContextManager[None]]


def learn(
    task: Task, params: Generalisation, build: Build, *, context: TrainingContext = lambda learner: nullcontext()
) -> Adapted:
    """Minimise what `build` makes of the environments' risks; within `context` the network is trained."""
    domains = {id_: task.environments[id_] for id_ in params.environments}
    classes, left_out = _shared(domains)
    _require_measurable(task, classes)
    largest = max(domains.values(), key=lambda domain: len(domain.images.rows("train")))
    start = starting.begin(task, params, largest, classes)
    learning = _Learning(task, params, start, build, context)
    known = {id_: learning.examples(domain) for id_, domain in domains.items()}
    learning = replace(learning, params=params.resolve(max(len(one.train) for one in known.values()), _size(start)))
    task.run.expect((1 + (len(known) if params.leave_one_out else 0)) * learning.steps(known))
    drawn = deepcopy(start.learner.module) if params.leave_one_out else None
    learning.train(start.learner, known, task.run)
    without = [] if drawn is None else [learning.without(id_, deepcopy(drawn), known) for id_ in known]
    transfer = start.report | {
        "environments": {id_: {"train": len(e.train), "validation": len(e.validation)} for id_, e in known.items()},
        "classes_left_out": left_out,
    }
    if without:
        left_out_one = [learning.measured(id_, other) for id_, other in zip(known, without, strict=True)]
        transfer |= {"leave_one_out": left_out_one}
    return Adapted(start.learner, start.spec, learning.params, _use(task, params, known, learning), transfer)


@dataclass(frozen=True)
class _Learning:
    """All that the trainings of one job have in common."""

    task: Task
    params: Generalisation
    start: Start
    build: Build
    context: TrainingContext

    def examples(self, domain: Domain) -> Examples:
        input, classes = self.start.learner.input, self.start.classes
        train, validation = (
            domain.examples(domain.labelled(split), input, classes) for split in ("train", "validation")
        )
        if not len(train):
            raise Failure("does_not_fit", "The training split of an environment has no image of the shared classes.")
        return Examples(train, validation)

    def steps(self, known: Mapping[str, Examples]) -> int:
        longest = max(len(one.train) for one in known.values())
        schedule = self.params.schedule
        return schedule.epochs * (len(batches.bounds(longest, schedule.batch_size)) - 1)

    def without(self, left: str, network: torch.nn.Module, known: Mapping[str, Examples]) -> Classifier:
        """A training without one environment, as a part of the run."""
        learner = replace(self.start.learner, module=network)
        rest = {id_: examples for id_, examples in known.items() if id_ != left}
        self.train(learner, rest, self.task.run.part(f"without_{left}"))
        return learner

    def train(self, learner: Classifier, known: Mapping[str, Examples], run: Run) -> None:
        params, names = self.params, list(known)
        prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
        turn = params.turn(self.steps(known))
        objective = self.build(EnvironmentTraining(len(names), turn, run.device))

        def loss(batch: Together, moment: Moment) -> Losses:
            parts = [batch.of[name] for name in names]
            whole = learner.forward(torch.cat([part.x for part in parts]))
            sizes = [len(part) for part in parts]
            logits = dict(zip(names, torch.split(whole.logits_BK, sizes), strict=True))
            features = dict(zip(names, torch.split(whole.features_BD, sizes), strict=True))
            labels = {name: part.y_B for name, part in zip(names, parts, strict=True)}
            risks = [self._risk(logits[name], labels[name]) for name in names]
            shown = {f"{name}/loss": risk for name, risk in zip(names, risks, strict=True)}
            return {**objective(EnvironmentOutputs(logits, features, labels, torch.stack(risks)), moment), **shown}

        with self.context(learner):
            Trainer(run, learner, params.schedule, stateful=objective.stateful).fit(
                Parallel({name: self._batches(name, known[name].train, run, prepare) for name in names}),
                loss,
                self._validator(learner, known, run, prepare),
                keep="last" if params.selection == "last" else "best",
                restart_at=turn,
            )

    def _risk(self, logits_BK: Tensor, y_B: Tensor) -> Tensor:
        return F.cross_entropy(logits_BK, y_B, label_smoothing=self.params.label_smoothing)

    def _batches(self, name: str, images: Images, run: Run, prepare: Prepare) -> batches.Shuffled:
        schedule = self.params.schedule
        return batches.image_batches(
            run,
            images.to(run.device),
            prepare=prepare,
            batch_size=schedule.batch_size,
            augment=transforms.compose(schedule.augmentation),
            stream=name,
        )

    def _validator(
        self, learner: Classifier, known: Mapping[str, Examples], run: Run, prepare: Prepare
    ) -> Callable[[], Validation] | None:
        """The validation on held-out images; None where there are none."""
        splits = {id_: images.to(run.device) for id_, images in self.held_out(known).items() if len(images)}
        if not splits:
            return None

        def validate() -> Validation:
            judged = {
                id_: evaluate.judge(run, learner.module, evaluate.image_batches(run, images, prepare))
                for id_, images in splits.items()
            }
            accuracies = [one.accuracy for one in judged.values()]
            accuracy, loss = _mean(accuracies), _mean([one.nll for one in judged.values()])
            values = {"accuracy": accuracy, "loss": loss, "worst_accuracy": min(accuracies)}
            values |= {f"{id_}/accuracy": one.accuracy for id_, one in judged.items()}
            return Validation(
                values, (values["worst_accuracy"] if self.params.selection == "worst" else accuracy, -loss)
            )

        return validate

    def held_out(self, known: Mapping[str, Examples]) -> dict[str, Images]:
        """The images that the weights are chosen by."""
        if self.params.validation is None:
            return {id_: one.validation for id_, one in known.items()}
        domain = self.task.environments[self.params.validation]
        rows = domain.labelled("validation")
        return {self.params.validation: domain.examples(rows, self.start.learner.input, self.start.classes)}

    def measured(self, left: str, learner: Classifier) -> dict[str, object]:
        """Figures on the test split of the environment that was left out."""
        domain, run = self.task.environments[left], self.task.run
        evaluation = measure.on_test_split(run, learner.module, learner.input, learner.classes, domain)
        figures = ("n", "accuracy", "accuracy_interval")
        return {"environment": left} | {name: getattr(evaluation, name, None) for name in figures}


def _shared(domains: Mapping[str, Domain]) -> tuple[list[str], list[str]]:
    """Classes of all environments by name, in the order of the first, and those that only some have."""
    every = [set(domain.classes) for domain in domains.values()]
    common, some = set.intersection(*every), set.union(*every)
    if len(common) < 2:
        raise Failure("does_not_fit", "The environments share fewer than two classes by name.")
    first = next(iter(domains.values()))
    return [name for name in first.classes if name in common], sorted(some - common)


def _require_measurable(task: Task, classes: Sequence[str]) -> None:
    if task.target.classes and not set(task.target.classes) & set(classes):
        raise Failure("does_not_fit", "The environments and the target share no class name.")


def _size(start: Start) -> tuple[int, int]:
    return start.learner.input.size


def _use(task: Task, params: Generalisation, known: Mapping[str, Examples], learning: _Learning) -> LabelUse:
    """The target's own where it is among the environments, or is what validates."""
    held_out = {} if params.selection == "last" and params.swad is None else learning.held_out(known)
    train = {id_: len(one.train) for id_, one in known.items()}
    validation = {id_: len(images) for id_, images in held_out.items()}
    ours = [id_ for id_, domain in task.environments.items() if domain is task.target]
    theirs = [id_ for id_ in task.environments if id_ not in ours]
    return LabelUse(
        train=sum(train.get(id_, 0) for id_ in ours),
        validation=sum(validation.get(id_, 0) for id_ in ours),
        elsewhere=f"{sum(train.get(id_, 0) for id_ in theirs)} training and "
        f"{sum(validation.get(id_, 0) for id_ in theirs)} validation labels of other datasets",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
