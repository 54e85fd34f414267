"""`shot`: a source's backbone adapted to images alone, under its frozen head."""

import torch
import torch.nn.functional as F
from torch import Tensor

from app.methods.source_free.shot import Shot
from worker.data.batches import Batch, Images
from worker.data.relabelled import Relabelled
from worker.methods.source_free import adaptation, unlabelled
from worker.methods.task import Adapted, Task
from worker.networks import modes
from worker.networks.classifier import Classifier
from worker.runtime.run import Run
from worker.terms import information, pseudo_labels
from worker.training.freezing import Except, Scope
from worker.training.protocols import Losses, Moment


def run(task: Task, params: Shot) -> Adapted:
    """Liang, Hu & Feng 2020."""
    begun = adaptation.begin(task, params)
    learner, train, columns_L = begun.learner, begun.images.train, unlabelled.shared(task, begun.learner)
    heads = learner.structure.heads
    return begun.fit(
        Relabelled(begun.batches(), lambda: labels(task.run, learner, train, columns_L)),
        _Objective(learner, params, columns_L),
        Scope(lambda epoch: Except(heads)),
    )


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
