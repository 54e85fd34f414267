"""Adaptation of a source's network to images alone by a loss on them, with the selection of the weights kept."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.contract.transfer import TransferReport
from app.methods.source_free.family import Minimising
from worker.data import batches as data
from worker.data import transforms
from worker.data.batches import Batch, Shuffled
from worker.methods import selection, transferred
from worker.methods.source_free import unlabelled
from worker.methods.source_free.unlabelled import Unlabelled
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Classifier
from worker.training.freezing import Scope
from worker.training.protocols import Batches, Loss, Stateful
from worker.training.trainer import Trainer


@dataclass(frozen=True)
class Adaptation:
    """The source's network, ready to be adapted to `images`; `params` are resolved."""

    task: Task
    params: Minimising
    learner: Classifier
    images: Unlabelled
    report: TransferReport

    def batches(self) -> Shuffled:
        """The training images, augmented."""
        run, schedule = self.task.run, self.params.schedule
        return data.image_batches(
            run,
            self.images.train,
            prepare=unlabelled.prepare(run, self.learner),
            batch_size=schedule.batch_size,
            augment=transforms.compose(schedule.augmentation),
        )

    def fit(
        self,
        batches: Batches[Batch],
        loss: Loss[Batch],
        scope: Scope | None = None,
        stateful: Mapping[str, Stateful] | None = None,
    ) -> Adapted:
        """Minimise `loss`, select, and say what the predictions were before and are now."""
        task, learner, train = self.task, self.learner, self.images.train
        before = unlabelled.predict(task.run, learner, train)
        chosen = selection.selector(task, learner, self.params)
        trainer = Trainer(task.run, learner, self.params.schedule, scope, stateful=stateful)
        fitted = trainer.fit(batches, loss, chosen.validate, keep=chosen.keep)
        settled = chosen.settle(fitted.best_epoch if chosen.keep == "best" else fitted.epochs)
        after = unlabelled.predict(task.run, learner, train)
        transfer = self.report | {
            "selection": settled,
            "predictions": unlabelled.report(task.run, before, after),
        }
        return Adapted(learner, task.known_source.network, self.params, chosen.use, transfer)


def begin(task: Task, params: Minimising) -> Adaptation:
    """
    Raises:
        Failure: `does_not_fit`, there is nothing to adapt to, or a class that the source does not know.
    """
    learner, report = transferred.itself(task, params.input)
    images = unlabelled.images(task, learner)
    params = params.starting_from(task.known_source.network)
    return Adaptation(task, params.resolve(len(images.train), learner.input.size), learner, images, report)
