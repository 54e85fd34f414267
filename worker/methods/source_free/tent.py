"""`tent`: batch norm's scales and shifts, moved until the predictions are sure; stopped where they collapse."""

from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from app.methods.source_free.tent import Tent
from worker.data import batches as data
from worker.data import transforms
from worker.data.batches import Batch, Images
from worker.methods import transferred
from worker.methods.source_free import norms, unlabelled
from worker.methods.source_free.unlabelled import Unlabelled
from worker.methods.task import Adapted, LabelUse, Task
from worker.networks.classifier import Classifier
from worker.runtime.contract import Note
from worker.runtime.run import Run, State
from worker.terms import information
from worker.training.freezing import Scope
from worker.training.protocols import Fitted, Losses, Moment, Validation
from worker.training.trainer import Trainer

FEWEST = 16  # images in a batch: below, its statistics and its entropy say little of the target


@dataclass(frozen=True)
class Collapse:
    """The reason why it was stopped, and which state was kept: `source`, `statistics` (the source's weights under the
    target's statistics) or `epoch n`."""

    reason: str
    kept: str
    message: str


def run(task: Task, params: Tent) -> Adapted:
    """Wang et al. 2021, on a set of images instead of a stream."""
    run = task.run
    learner, report = transferred.itself(task, params.input)
    paths = norms.require(learner, params.name)
    images = unlabelled.images(task, learner)
    params = params.resolve(len(images.train), learner.input.size)
    before = unlabelled.predict(run, learner, images.train)
    collapse = _tiny(images.train, params) or _adapt(run, learner, params, images, paths)
    if collapse is not None:
        run.emit(Note("collapse", collapse.message, "warning"))
    after = unlabelled.predict(run, learner, images.train)
    transfer = report | {
        "trainable": paths,
        "collapse": collapse and asdict(collapse),
        "predictions": {"before": before.document(), "after": after.document()},
    }
    return Adapted(learner, task.known_source.network, params, LabelUse(), transfer)


def _tiny(train: Images, params: Tent) -> Collapse | None:
    bounds = data.bounds(len(train), params.schedule.batch_size)
    smallest = min(end - start for start, end in pairwise(bounds))
    if smallest >= FEWEST:
        return None
    message = f"Batches of {smallest} images are too small to adapt to (at least {FEWEST}): the source is unchanged."
    return Collapse("tiny_batches", "source", message)


def _adapt(run: Run, learner: Classifier, params: Tent, images: Unlabelled, paths: list[str]) -> Collapse | None:
    """The statistics first; then scales and shifts, under each batch's own statistics; then those of what they make."""
    network, batch_size = learner.module, params.schedule.batch_size
    watched = images.validation if len(images.validation) else images.train
    source, of_source = deepcopy(network.state_dict()), unlabelled.predict(run, learner, watched)
    norms.estimate(run, learner, images.train, batch_size)
    start, of_start = deepcopy(network.state_dict()), unlabelled.predict(run, learner, watched)
    watch = _Watch(run, learner, watched, unlabelled.floor(of_source, of_start))
    if of_source.one_class or not watch.sound(of_start.classes):
        network.load_state_dict(source)
        return _one_class("source")
    fitted = _minimise(run, learner, params, images.train, paths, watch)
    if fitted.best is None or not watch.sound(fitted.best["classes"]):
        network.load_state_dict(start)
        return _one_class("statistics")
    norms.estimate(run, learner, images.train, batch_size)
    return None if fitted.best_epoch == fitted.epochs else _one_class(f"epoch {fitted.best_epoch}")


def _minimise(run: Run, learner: Classifier, params: Tent, train: Images, paths: list[str], watch: "_Watch") -> Fitted:
    schedule = replace(params.schedule, patience=1)  # a collapse is not waited out
    batches = data.image_batches(
        run,
        train,
        prepare=unlabelled.prepare(run, learner),
        batch_size=schedule.batch_size,
        augment=transforms.compose(schedule.augmentation),
    )

    def loss(batch: Batch, moment: Moment) -> Losses:
        return {"loss": information.entropy(learner.module(batch.x)).mean()}

    trainer = Trainer(run, learner, schedule, Scope(lambda epoch: paths), stateful={"watch": watch})
    return trainer.fit(batches, loss, watch)


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
