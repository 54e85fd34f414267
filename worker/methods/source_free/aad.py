"""`aad`: predictions attracted to those of the nearest images, and dispersed from the others'."""

import torch

from app.methods.source_free.aad import Aad
from worker.data.batches import Batch, Images
from worker.methods.source_free import adaptation, unlabelled
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Classifier
from worker.runtime.device import send
from worker.runtime.run import Run
from worker.terms import neighbourhood
from worker.terms.neighbourhood import Bank
from worker.training.protocols import Losses, Moment


def run(task: Task, params: Aad) -> Adapted:
    """Yang et al. 2022, algorithm 1."""
    begun = adaptation.begin(task, params)
    bank = remembered(task.run, begun.learner, begun.images.train)
    return begun.fit(begun.batches(), _Neighbourhood(begun.learner, params, bank), stateful={"bank": bank})


def remembered(run: Run, learner: Classifier, images: Images) -> Bank:
    """All images as the network, in evaluation mode, has them; not augmented."""
    features, predictions = [], []
    with torch.no_grad():
        for x_BCHW, _ in unlabelled.batches(run, learner, images):
            outputs = learner.forward(x_BCHW)
            features.append(outputs.features_BD)
            predictions.append(outputs.logits_BK.softmax(1))
    return Bank(torch.cat(features), torch.cat(predictions))


class _Neighbourhood:
    def __init__(self, learner: Classifier, params: Aad, bank: Bank) -> None:
        self._learner, self._params, self._bank = learner, params, bank

    def __call__(self, batch: Batch, moment: Moment) -> Losses:
        """Eq. 5; no gradient goes through the bank."""
        outputs = self._learner.forward(batch.x)
        p_BK, index_B = outputs.logits_BK.softmax(1), send(batch.index_B, batch.x.device)
        self._bank.renew(index_B, outputs.features_BD.detach(), p_BK.detach())
        attraction = neighbourhood.attraction(p_BK, self._bank.near(index_B, self._params.neighbours))
        dispersion = neighbourhood.dispersion(p_BK)
        strength = (1 + 10 * moment.progress) ** -self._params.decay
        loss = attraction + strength * dispersion
        return {"loss": loss, "attraction": attraction, "dispersion": dispersion}
