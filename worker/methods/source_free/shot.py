"""`shot`: a source's backbone adapted to images alone, under its frozen head."""

import torch
import torch.nn.functional as F
from torch import Tensor

from app.methods.source_free.shot import Shot
from worker.data import batches as data
from worker.data import transforms
from worker.data.batches import Batch, Images
from worker.data.relabelled import Relabelled
from worker.methods import selection, transferred
from worker.methods.source_free import unlabelled
from worker.methods.task import Adapted, Task
from worker.networks import modes
from worker.networks.classifier import Classifier
from worker.runtime.run import Run
from worker.terms import information, pseudo_labels
from worker.training.freezing import Except, Scope
from worker.training.protocols import Losses, Moment
from worker.training.trainer import Trainer


def run(task: Task, params: Shot) -> Adapted:
    """Liang, Hu & Feng 2020."""
    run = task.run
    learner, report = transferred.itself(task, params.input)
    images, columns_L = unlabelled.images(task, learner), unlabelled.shared(task, learner)
    params = params.resolve(len(images.train), learner.input.size)
    schedule = params.schedule
    before = unlabelled.predict(run, learner, images.train)
    batches = data.image_batches(
        run,
        images.train,
        prepare=unlabelled.prepare(run, learner),
        batch_size=schedule.batch_size,
        augment=transforms.compose(schedule.augmentation),
    )
    chosen = selection.selector(task, learner, params)
    heads = learner.structure.heads
    fitted = Trainer(run, learner, schedule, Scope(lambda epoch: Except(heads))).fit(
        Relabelled(batches, lambda: labels(run, learner, images.train, columns_L)),
        _Objective(learner, params, columns_L),
        chosen.validate,
        keep=chosen.keep,
    )
    settled = chosen.settle(fitted.best_epoch if chosen.keep == "best" else fitted.epochs)
    after = unlabelled.predict(run, learner, images.train)
    transfer = report | {"selection": settled, "predictions": unlabelled.report(run, before, after)}
    return Adapted(learner, task.known_source.network, params, chosen.use, transfer)


def labels(run: Run, learner: Classifier, images: Images, columns_L: Tensor | None) -> Tensor:
    """int64 [N]: see `pseudo_labels.assign`; the network in evaluation mode, the images not augmented."""
    features, probabilities = [], []
    with modes.evaluating(learner.module), torch.no_grad():
        for x_BCHW, _ in unlabelled.batches(run, learner, images):
            outputs = learner.forward(x_BCHW)
            features.append(outputs.features_BD)
            probabilities.append(outputs.logits_BK.softmax(1))
    return pseudo_labels.assign(torch.cat(features), torch.cat(probabilities), columns_L)


class _Objective:
    def __init__(self, learner: Classifier, params: Shot, columns_L: Tensor | None) -> None:
        self._learner, self._params, self._columns_L = learner, params, columns_L

    def __call__(self, batch: Batch, moment: Moment) -> Losses:
        """Eq. 7."""
        params, logits_BK = self._params, self._learner.module(batch.x)
        entropy = information.entropy(logits_BK).mean()
        diversity = information.diversity(logits_BK, self._columns_L)
        on_labels = F.cross_entropy(logits_BK, batch.y_B, label_smoothing=params.label_smoothing)
        loss = entropy - params.diversity * diversity + params.pseudo_labels * on_labels
        return {"loss": loss, "entropy": entropy, "diversity": diversity, "cross_entropy": on_labels}
