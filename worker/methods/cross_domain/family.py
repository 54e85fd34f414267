"""Labelled source and unlabelled target side by side: L on the source plus a term on what both look like."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.methods.cross_domain.family import CrossDomain
from worker.data import batches as data
from worker.data import transforms
from worker.data.batches import Batch, Images, Prepare
from worker.data.parallel import Parallel, Together
from worker.methods import selection, transferred
from worker.methods.selection import Selector
from worker.methods.task import Adapted, Domain, Task
from worker.methods.transferred import Start
from worker.networks.classifier import Classifier, Outputs
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.training import statistics
from worker.training.freezing import Scope
from worker.training.protocols import Losses, Moment
from worker.training.trainer import Trainer


class Alignment(Protocol):
    """A term on both domains.  `module` is what learns beside the network."""

    @property
    def module(self) -> nn.Module | None: ...

    def __call__(self, source: Outputs, target: Outputs, strength: float) -> Mapping[str, Tensor]:
        """`alignment`, which joins the loss as it is, and what else is to be logged; `strength` is its weight now."""


STATISTICS_IMAGES = 2048  # of the source's training split, evenly spaced: enough for batch norm's statistics
STATISTICS_BATCH = 128

Build = Callable[[Classifier], Alignment]


@dataclass(frozen=True)
class Domains:
    """Images on the network's input: the source's with their labels as places among its outputs, the target's without.

    `held_out` is the source's validation split.
    """

    source: Images
    held_out: Images
    target: Images

    @property
    def longest(self) -> int:
        return max(len(self.source), len(self.target))


def start(task: Task, params: CrossDomain) -> Start:
    """The head is the source's where it has the classes of the source's dataset; else a new one."""
    return transferred.start(task, params.input, known(task).classes)


def domains(task: Task, learner: Classifier) -> Domains:
    """
    Raises:
        Failure: `does_not_fit`, one of the training splits is empty.
    """
    source, input, classes = known(task), task.known_source.input, learner.classes or []
    domain_images = Domains(
        source.examples(source.labelled("train"), input, classes),
        source.examples(source.labelled("validation"), input, classes),
        task.target.unlabelled(task.target.images.rows("train"), learner.input),
    )
    if min(len(domain_images.source), len(domain_images.target)) < 2:
        raise Failure("does_not_fit", "Both domains need two training images at least, the source's with labels.")
    return domain_images


def known(task: Task) -> Domain:
    if task.source_domain is None:
        raise Failure("does_not_fit", "This method learns from the source's labelled images: name `source_dataset`.")
    return task.source_domain


def batches(
    task: Task, params: CrossDomain, domain_images: Domains, input: InputSpec, layout: torch.memory_format
) -> Parallel:
    """A batch of each domain at every step; `params` are resolved."""
    prepare = Prepare(input, task.run.device, layout)
    schedule = params.schedule
    streams = {
        name: data.image_batches(
            task.run,
            images.to(task.run.device),
            prepare=prepare,
            batch_size=schedule.batch_size,
            augment=transforms.compose(schedule.augmentation),
            stream=name,
        )
        for name, images in (("source", domain_images.source), ("target", domain_images.target))
    }
    return Parallel(streams)


def adapt(task: Task, params: CrossDomain, build: Build) -> Adapted:
    """Minimise cross-entropy on the source's labels + the alignment that `build` gives; then select."""
    begun = start(task, params)
    learner = begun.learner
    domain_images = domains(task, learner)
    params = params.resolve(domain_images.longest, learner.input.size)
    alignment = build(learner)
    chosen = selector(task, learner, params, domain_images)
    objective = AlignmentObjective(learner, params, alignment)
    trainer = Trainer(
        task.run,
        learner,
        params.schedule,
        Scope(factor=lambda name: factor(name, params, learner)),
        companions={} if alignment.module is None else {"alignment": alignment.module},
    )
    pairs = batches(task, params, domain_images, learner.input, device.memory_format(learner.module))
    fitted = trainer.fit(pairs, objective, chosen.validate, keep=chosen.keep)
    return adapted(begun, params, chosen, fitted.best_epoch if chosen.keep == "best" else fitted.epochs)


def selector(task: Task, learner: Classifier, params: CrossDomain, domain_images: Domains) -> Selector:
    """The selector of the weights that are kept: where each domain is normalised by its own, the network is judged on
    the source under the source's statistics."""
    run, source = task.run, domain_images.source
    rows = torch.linspace(0, len(source) - 1, min(STATISTICS_IMAGES, len(source))).long()
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))

    def source_norms() -> Iterator[Tensor]:
        some = Images(source.pixels_NHWC[rows], source.label_N[rows]).to(run.device)
        stream = data.image_batches(run, some, prepare=prepare, batch_size=STATISTICS_BATCH, stream="source_statistics")
        for batch in stream.epoch(0):
            run.checkpoint_or_stop()
            yield batch.x

    separate = params.batch_norm == "separate" and bool(statistics.norms(learner.module))
    return selection.selector(task, learner, params, domain_images.held_out, source_norms if separate else None)


def adapted(begun: Start, params: CrossDomain, chosen: Selector, epoch: int | None) -> Adapted:
    report = begun.report | {"selection": chosen.settle(epoch)}
    return Adapted(begun.learner, begun.spec, params, chosen.use, report)


class AlignmentObjective:
    """Called at every step."""

    def __init__(self, learner: Classifier, params: CrossDomain, alignment: Alignment) -> None:
        self._learner, self._params, self._alignment = learner, params, alignment

    def __call__(self, batch: Together, moment: Moment) -> Losses:
        labelled = batch.of["source"]
        source, target = forward(self._learner, labelled, batch.of["target"], self._params.batch_norm)
        on_labels = cross_entropy(source, labelled, self._params)
        strength = self._params.strength(moment.progress)
        losses = self._alignment(source, target, strength)
        return {
            "loss": on_labels + losses["alignment"],
            "cross_entropy": on_labels,
            "strength": on_labels.new_full((), strength),
            **losses,
        }


def cross_entropy(outputs: Outputs, batch: Batch, params: CrossDomain) -> Tensor:
    return F.cross_entropy(outputs.logits_BK, batch.y_B, label_smoothing=params.label_smoothing)


def forward(learner: Classifier, source: Batch, target: Batch, batch_norm: str) -> tuple[Outputs, Outputs]:
    """`joint`: one batch, one normalisation.  `separate`: each domain is normalised by its own batch, and the running
    statistics are the target's, for which the network is made."""
    if batch_norm == "joint":
        return _split(learner.forward(torch.cat((source.x, target.x))), len(source))
    with untracked(learner.module):
        on_source = learner.forward(source.x)
    return on_source, learner.forward(target.x)


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Within, batch norm in training mode leaves its running statistics as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    tracking = [norm for norm in norms if norm.training and norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


def factor(name: str, params: CrossDomain, learner: Classifier) -> float:
    """The share of the learning rate of the parameter `name`."""
    heads = tuple(f"{head}." for head in learner.structure.heads)
    return 1.0 if name.startswith(heads) else params.backbone_factor


def _split(outputs: Outputs, first: int) -> tuple[Outputs, Outputs]:
    return (
        Outputs(outputs.logits_BK[:first], outputs.features_BD[:first]),
        Outputs(outputs.logits_BK[first:], outputs.features_BD[first:]),
    )
