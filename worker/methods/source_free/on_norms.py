"""Norms' scales and shifts, moved by a loss on images alone; stopped where the predictions collapse."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise

from torch import Tensor

from app.contract.transfer import TransferReport
from app.methods.source_free.family import OnNorms
from worker.data import batches as data
from worker.data import transforms
from worker.data.batches import Batch, Images
from worker.methods import transferred
from worker.methods.source_free import norms, unlabelled
from worker.methods.source_free.unlabelled import Unlabelled
from worker.methods.task import Adapted, LabelUse, Task
from worker.metrics.share import Share
from worker.networks.classifier import Classifier
from worker.runtime.contract import Note
from worker.runtime.run import Run, State
from worker.training import statistics
from worker.training.freezing import Scope
from worker.training.protocols import Fitted, Loss, Stateful, Validation
from worker.training.trainer import Trainer

FEWEST = 16  # images in a batch: below, batch norm's statistics of it say little of the target


@dataclass(frozen=True)
class Collapse:
    """The reason why it was stopped, and which state was kept: `source`, `statistics` (the source's weights under the
    target's statistics) or `epoch n`."""

    reason: str
    kept: str
    message: str


@dataclass(frozen=True)
class Aim:
    """The loss that is minimised, with what else changes under it.

    `taken` is the share of the images that count, None where all do.  With `sharpness` the loss is looked at twice, the
    second time so far above the weights.  `lost` tells after a step that the network is to begin anew.
    """

    loss: Loss[Batch]
    stateful: Mapping[str, Stateful] = field(default_factory=dict)
    taken: Share | None = None
    sharpness: float | None = None
    lost: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Begun:
    """The source's network, whose modules at `paths` are to be adapted to `images`; `params` are resolved.

    The scales and shifts of those among them that are `held` stay as they are.
    """

    task: Task
    params: OnNorms
    learner: Classifier
    images: Unlabelled
    paths: list[str]
    report: TransferReport
    held: frozenset[str] = frozenset()

    def fit(self, aim: Aim) -> Adapted:
        """Minimise the loss, as long as predictions are sound, and say what they were before and are now."""
        run, train, taken = self.task.run, self.images.train, aim.taken
        before = unlabelled.predict(run, self.learner, train)
        collapse = self._tiny() or self._adapt(aim)
        if collapse is not None:
            run.emit(Note("collapse", collapse.message, "warning"))
        elif taken is not None and not taken.mean:
            message = "No prediction was ever sure enough to learn from: raise `entropy_margin`. Nothing was learnt."
            run.emit(Note("nothing_sure", message, "warning"))
        after = unlabelled.predict(run, self.learner, train)
        transfer = self.report | {
            "trainable": [path for path in self.paths if path not in self.held],
            "collapse": collapse and asdict(collapse),
            "predictions": {"before": before.document(), "after": after.document()},
            **({} if taken is None else {"taken": taken.mean}),
        }
        return Adapted(self.learner, self.task.known_source.network, self.params, LabelUse(), transfer)

    @property
    def _of_batches(self) -> bool:
        """Tell whether there is batch norm, which takes its statistics from each batch."""
        return bool(statistics.norms(self.learner.module))

    def _tiny(self) -> Collapse | None:
        bounds = data.bounds(len(self.images.train), self.params.schedule.batch_size)
        smallest = min(end - start for start, end in pairwise(bounds))
        if smallest >= FEWEST or not self._of_batches:
            return None
        message = (
            f"Batches of {smallest} images are too small to adapt to (at least {FEWEST}): the source is unchanged."
        )
        return Collapse("tiny_batches", "source", message)

    def _adapt(self, aim: Aim) -> Collapse | None:
        """The statistics first; then scales and shifts, under each batch's own; then those of what they make."""
        run, learner, network = self.task.run, self.learner, self.learner.module
        watched = self.images.validation if len(self.images.validation) else self.images.train
        source, of_source = deepcopy(network.state_dict()), unlabelled.predict(run, learner, watched)
        self._estimate()
        start, of_start = deepcopy(network.state_dict()), unlabelled.predict(run, learner, watched)
        watch = _Watch(run, learner, watched, unlabelled.floor(of_source, of_start))
        if of_source.one_class or not watch.sound(of_start.classes):
            network.load_state_dict(source)
            return _one_class("source")
        fitted = self._minimise(aim, watch, start)
        if fitted.best is None or not watch.sound(fitted.best["classes"]):
            network.load_state_dict(start)
            return _one_class("statistics" if self._of_batches else "source")
        self._estimate()
        return None if fitted.best_epoch == fitted.epochs else _one_class(f"epoch {fitted.best_epoch}")

    def _estimate(self) -> None:
        if self._of_batches:
            norms.estimate(self.task.run, self.learner, self.images.train, self.params.schedule.batch_size)

    def _minimise(self, aim: Aim, watch: "_Watch", start: Mapping[str, Tensor]) -> Fitted:
        """`start` are the weights with which it begins, and begins anew where it is lost."""
        run, learner, lost = self.task.run, self.learner, aim.lost
        # a collapse is not waited out
        schedule = replace(self.params.schedule, patience=1, sharpness=aim.sharpness)
        batches = data.image_batches(
            run,
            self.images.train,
            prepare=unlabelled.prepare(run, learner),
            batch_size=schedule.batch_size,
            augment=transforms.compose(schedule.augmentation),
        )
        stateful = {"watch": watch, **aim.stateful, **({} if aim.taken is None else {"taken": aim.taken})}
        with self._holding():
            trainer = Trainer(
                run,
                learner,
                schedule,
                Scope(lambda epoch: self.paths),
                stateful=stateful,
                anew=None if lost is None else lambda: start if lost() else None,
            )
            return trainer.fit(batches, aim.loss, watch)

    @contextmanager
    def _holding(self) -> Iterator[None]:
        parameters = [
            p for path in self.held for p in self.learner.module.get_submodule(path).parameters(recurse=False)
        ]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)


def begin(task: Task, params: OnNorms, *, batch_norm_alone: bool) -> Begun:
    """
    Raises:
        Failure: `does_not_fit`, there are no such norms, or nothing to adapt to.
    """
    learner, report = transferred.itself(task, params.input)
    paths = norms.require(learner, params.name) if batch_norm_alone else norms.require_any(learner, params.name)
    images = unlabelled.images(task, learner)
    params = params.resolve(len(images.train), learner.input.size)
    return Begun(task, params, learner, images, paths, report)


def _one_class(kept: str) -> Collapse:
    message = f"The predictions collapsed towards one class, and the adaptation was stopped; kept: {kept}."
    return Collapse("one_class", kept, message)


class _Watch:
    """A validation for `fit` by which each sound state is better than all before it, and no other is."""

    def __init__(self, run: Run, learner: Classifier, images: Images, floor: float) -> None:
        self._run, self._learner, self._images, self._floor = run, learner, images, floor
        self._sound = 0

    def sound(self, classes: float) -> bool:
        return classes >= self._floor

    def __call__(self) -> Validation:
        predictions = unlabelled.predict(self._run, self._learner, self._images)
        sound = self.sound(predictions.classes)
        self._sound += sound
        rank = (float(self._sound) if sound else -1.0,)
        return Validation({"entropy": predictions.entropy, "classes": predictions.classes}, rank)

    def state_dict(self) -> State:
        return {"sound": self._sound}

    def load_state_dict(self, state: State) -> None:
        self._sound = state["sound"]
