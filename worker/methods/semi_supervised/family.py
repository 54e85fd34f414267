"""Images with labels and images without, side by side: L on the labels plus a term on two views of the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.contract.augmentation import AugmentationStep
from app.methods.semi_supervised.family import SemiSupervised
from worker.data import batches as data
from worker.data import transforms, views
from worker.data.batches import Prepare
from worker.data.parallel import Parallel, Together
from worker.methods import starting, supervision
from worker.methods.supervision import Examples
from worker.methods.task import Adapted, Domain, Task
from worker.metrics.share import Share
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.runtime.contract import Failure, Note
from worker.training import evaluate
from worker.training.protocols import Losses, Moment, Stateful
from worker.training.trainer import Trainer


class Consistency(Protocol):
    """A term on the logits [M,K] for two views of the same images, one weakly, one strongly augmented; `stateful` is
    what of it changes with the steps."""

    @property
    def stateful(self) -> Mapping[str, Stateful]: ...

    def __call__(self, weak_MK: Tensor, strong_MK: Tensor) -> Mapping[str, Tensor]:
        """`consistency`, which joins the loss at the method's weight, `sure`, the share of the images that is learnt
        from, and what else is to be logged; `weak_MK` has no gradient."""


@dataclass(frozen=True)
class Space:
    """The number of classes that are learnt, and the device that they are learnt on."""

    classes: int
    device: torch.device


Build = Callable[[Space], Consistency]


def learn(task: Task, params: SemiSupervised, build: Build) -> Adapted:
    """Minimise cross-entropy on the labels + the consistency that `build` gives, on all images.

    Raises:
        Failure: `does_not_fit`, there are no images with labels, or none without.
    """
    run, start = task.run, starting.begin(task, params, task.target, task.target.classes)
    learner = start.learner
    examples = supervision.examples(run, task.target, params, learner.input, start.classes)
    domain = task.target if params.unlabelled is None else task.environments[params.unlabelled]
    count = len(domain.images.rows("train"))
    if not count:
        raise Failure("does_not_fit", "The training split of `unlabelled` is empty.")
    params = params.resolve(count, learner.input.size)
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
    consistency, validation = build(Space(len(start.classes), run.device)), examples.validation.to(run.device)
    objective = ConsistencyObjective(learner, params, consistency)
    Trainer(run, learner, params.schedule, stateful={"sure": objective.sure, **consistency.stateful}).fit(
        _batches(task, params, learner, examples, domain),
        objective,
        evaluate.validator(run, learner.module, lambda: evaluate.image_batches(run, validation, prepare))
        if len(validation)
        else None,
    )
    if not objective.sure.mean:
        message = "No prediction was ever sure enough to learn from: the images without labels have taught nothing."
        run.emit(Note("nothing_sure", message, "warning"))
    unlabelled = {"images": count, "sure": objective.sure.mean}
    return Adapted(learner, start.spec, params, examples.use, start.report | {"unlabelled": unlabelled})


def _batches(task: Task, params: SemiSupervised, learner: Classifier, examples: Examples, domain: Domain) -> Parallel:
    """Images with labels, weakly augmented, beside images of `domain` without, in both views."""
    run, schedule, input = task.run, params.schedule, learner.input
    prepare = Prepare(input, run.device, device.memory_format(learner.module))
    weak, strong = schedule.augmentation, params.strong
    labelled, rows, unlabelled_input = examples.train, domain.images.rows("train"), input
    if transforms.cuts(weak):  # of larger images, where they are stored larger
        labelled = examples.oversampled() if examples.oversampled else labelled
        if transforms.cuts(strong):
            unlabelled_input = domain.oversampled(input) or input
    of_labelled = data.image_batches(
        run,
        labelled.to(run.device),
        prepare=prepare,
        batch_size=schedule.batch_size,
        augment=transforms.compose(weak, input.size),
        stream="labelled",
    )
    of_unlabelled = views.view_batches(
        run,
        domain.unlabelled(rows, unlabelled_input).to(run.device),
        prepare=prepare,
        batch_size=schedule.batch_size * params.unlabelled_ratio,
        look=_two(weak, strong, input.size),
    )
    return Parallel({"labelled": of_labelled, "unlabelled": of_unlabelled})


def _two(weak: Sequence[AugmentationStep], strong: Sequence[AugmentationStep], size: tuple[int, int]) -> views.Look:
    augments = [transforms.compose(steps, size) or (lambda x_BCHW, generator: x_BCHW) for steps in (weak, strong)]

    def look(x_BCHW: Tensor, generator: Generator) -> Tensor:
        return torch.cat([augment(x_BCHW, generator) for augment in augments])

    return look


class ConsistencyObjective:
    """Called at every step; all images go through batch norm together, as the methods' authors have it.

    `sure` is the share of the images without labels that was learnt from.
    """

    def __init__(self, learner: Classifier, params: SemiSupervised, consistency: Consistency) -> None:
        self._learner, self._params, self._consistency = learner, params, consistency
        self.sure = Share()

    def __call__(self, batch: Together, moment: Moment) -> Losses:
        labelled, unlabelled = batch.of["labelled"], batch.of["unlabelled"]
        logits_NK = self._learner.module(torch.cat((labelled.x, unlabelled.x)))
        labelled_BK, views_NK = logits_NK[: len(labelled)], logits_NK[len(labelled) :]
        weak_MK, strong_MK = views_NK.chunk(2)
        on_labels = F.cross_entropy(labelled_BK, labelled.y_B, label_smoothing=self._params.label_smoothing)
        losses = self._consistency(weak_MK.detach(), strong_MK)
        self.sure.add(losses["sure"])
        loss = on_labels + self._params.unlabelled_weight * losses["consistency"]
        return {"loss": loss, "cross_entropy": on_labels, **losses}
