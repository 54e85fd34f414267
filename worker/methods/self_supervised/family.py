"""Learning from images alone, as every pretext does it: views in, features out; labels are looked at, never used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from app.contract.augmentation import AugmentationStep
from app.methods.self_supervised.family import Pretraining, TwoViews
from worker.data import transforms, views
from worker.data.batches import Batch, Images, Prepare
from worker.methods import starting
from worker.methods.self_supervised import neighbours
from worker.methods.task import Adapted, Task
from worker.methods.transferred import Start
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.training import evaluate
from worker.training.protocols import Loss, Stateful
from worker.training.trainer import Trainer

UNLABELLED = "unlabelled"
FEWEST_IMAGES = 4


@dataclass(frozen=True)
class Pretext:
    """The network and the images that a pretext works on; `params` are resolved.

    `oversampled` makes the images with more pixels, where they are stored with more.
    """

    start: Start
    params: Pretraining
    images: Images
    oversampled: Callable[[], Images] | None = None

    @property
    def width(self) -> int:
        return self.start.learner.structure.features

    def features(self, x_BCHW: Tensor) -> Tensor:
        """float32 [B,D]."""
        return self.start.learner.features(x_BCHW)


def begin(task: Task, params: Pretraining) -> Pretext:
    """All training images, labelled or not, without their labels; the network has one output, which learns nothing.

    Raises:
        Failure: `does_not_fit`, there are too few.
    """
    start = starting.begin(task, params, task.target, [UNLABELLED])
    rows = task.target.images.rows("train")
    if len(rows) < FEWEST_IMAGES:
        raise Failure("does_not_fit", f"The training split has {len(rows)} images; {FEWEST_IMAGES} are the fewest.")
    input = start.learner.input
    images, larger = task.target.unlabelled(rows, input), task.target.oversampled(input)
    oversampled = (lambda: task.target.unlabelled(rows, larger)) if larger else None
    return Pretext(start, params.resolve(len(images), input.size), images, oversampled)


def projector(task: Task, widths: list[int]) -> nn.Sequential:
    """A perceptron with batch norm and ReLU between its layers."""
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for width, next_width in pairwise(widths[1:]):
        layers += [nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, next_width)]
    return nn.Sequential(*layers).to(task.run.device)


def two(pretext: Pretext) -> views.Look:
    """Each image augmented twice, as the parameters say of either view."""
    one, other = (_augmented(steps, pretext) for steps in _distributions(pretext.params))

    def look(x_BCHW: Tensor, generator: Generator) -> Tensor:
        return torch.cat([one(x_BCHW, generator), other(x_BCHW, generator)])

    return look


def once(pretext: Pretext) -> views.Look:
    """Each image augmented once."""
    return _augmented(_steps(pretext.params.augmentation), pretext)


def turned(pretext: Pretext) -> views.Look:
    """Each image augmented once, in its four quarter turns."""
    augmented = once(pretext)
    return lambda x_BCHW, generator: views.quarter_turns(augmented(x_BCHW, generator))


def learn(
    task: Task,
    pretext: Pretext,
    look: views.Look,
    loss: Loss[Batch],
    *,
    companions: Mapping[str, nn.Module],
    stateful: Mapping[str, Stateful] | None = None,
) -> Adapted:
    """The weights of the last step: nothing is selected, so nothing can be selected by labels."""
    learner, params, run = pretext.start.learner, pretext.params, task.run
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
    images = pretext.images
    if pretext.oversampled and all(transforms.cuts(steps) for steps in _distributions(params)):
        images = pretext.oversampled()
    batches = views.view_batches(
        run, images.to(run.device), prepare=prepare, batch_size=params.schedule.batch_size, look=look
    )
    watch = neighbours.NeighbourValidation(task, learner)
    trainer = Trainer(run, learner, params.schedule, companions=companions, stateful=stateful)
    trainer.fit(batches, loss, watch.validate if watch.possible else None, keep="last")
    transfer = pretext.start.report | {"features": watch.report()}
    adapted = Adapted(learner, pretext.start.spec, params, watch.use, transfer)
    return replace(adapted, headless=True)


def share_recognised(task: Task, pretext: Pretext, look: views.Look, right: Callable[[Tensor], Tensor]) -> float:
    """The mean of `right` (features [V·B,D] -> float32 [V·B]) over the validation images, else the training images."""
    learner, run = pretext.start.learner, task.run
    rows = task.target.images.rows("validation")
    held_out = task.target.unlabelled(rows, learner.input) if len(rows) else pretext.images
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
    generator, parts = run.generator("recognised"), []
    with torch.no_grad():
        for place_B in torch.split(torch.arange(len(held_out)), evaluate.BATCH[run.device.type]):
            x_BCHW = look(prepare.pixels(held_out.pixels_NHWC, place_B), generator)
            parts.append(right(pretext.features(prepare.normalised(x_BCHW))))
    return float(torch.cat(parts).mean())


def _augmented(steps: list[AugmentationStep], pretext: Pretext) -> transforms.Augment:
    return transforms.compose(steps, pretext.start.learner.input.size) or (lambda x_BCHW, generator: x_BCHW)


def _distributions(params: Pretraining) -> list[list[AugmentationStep]]:
    """The steps by which each view is made."""
    augmentations = [params.augmentation] + ([params.second_augmentation] if isinstance(params, TwoViews) else [])
    return [_steps(one) for one in augmentations]


def _steps(augmentation: str | list[AugmentationStep]) -> list[AugmentationStep]:
    return augmentation if isinstance(augmentation, list) else []
