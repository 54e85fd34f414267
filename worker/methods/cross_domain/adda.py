"""`adda`: Tzeng et al. 2017, Adversarial discriminative domain adaptation."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from app.methods.cross_domain.adda import Adda
from worker.data.parallel import Parallel, Together
from worker.methods.cross_domain import family as cross_domain
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.terms import adversarial
from worker.terms.adversarial import Discriminator
from worker.training.freezing import Except, Scope
from worker.training.protocols import Losses, Moment
from worker.training.trainer import Trainer


def run(task: Task, params: Adda) -> Adapted:
    """Adapt a network that knows the source's classes; its head is frozen while the target's encoder learns."""
    begun = cross_domain.start(task, params)
    learner = begun.learner
    domain_images = cross_domain.domains(task, learner)
    params = params.resolve(domain_images.longest, learner.input.size)
    batches = cross_domain.batches(task, params, domain_images, learner.input, device.memory_format(learner.module))
    params = _pretrained(task, learner, params, batches, new=begun.report.head == "new")
    chosen = cross_domain.selector(task, learner, params, domain_images)
    encoder = replace(learner, module=deepcopy(learner.module).requires_grad_(False).eval())
    discriminator = Discriminator(learner.structure.features, params.hidden).to(task.run.device)
    scope = Scope(lambda epoch: Except(learner.structure.heads))
    trainer = Trainer(task.run, learner, params.schedule, scope, companions={"discriminator": discriminator})
    game = Game(learner, encoder, discriminator, params)
    fitted = trainer.fit(batches, game, chosen.validate, keep=chosen.keep)
    return cross_domain.adapted(begun, params, chosen, fitted.best_epoch if chosen.keep == "best" else fitted.epochs)


def _pretrained(task: Task, learner: Classifier, params: Adda, batches: Parallel, new: bool) -> Adda:
    """The source's labels first, as far as the head does not know them yet; the parameters say how long."""
    epochs = params.pretrain_epochs
    if epochs is None:
        epochs = params.schedule.epochs if new else 0
    if epochs:
        half, steps = params.pretraining(epochs), batches.per_epoch
        task.run.expect((epochs + params.schedule.epochs) * steps)
        Trainer(task.run.part("pretrain"), learner, half.schedule).fit(batches, Pretraining(learner, half))
    return params.model_copy(update={"pretrain_epochs": epochs})


class Pretraining:
    """L on the source alone."""

    def __init__(self, learner: Classifier, params: Adda) -> None:
        self._learner, self._params = learner, params

    def __call__(self, batch: Together, moment: Moment) -> Losses:
        labelled = batch.of["source"]
        outputs = self._learner.forward(labelled.x)
        return {"loss": cross_domain.cross_entropy(outputs, labelled, self._params)}


class Game:
    """Both players at every step: the discriminator on features as they are, the encoder against it as it is.

    The encoder's labels are inverted (eq. 7) rather than its gradient reversed, which vanishes where the discriminator
    is right.
    """

    def __init__(self, learner: Classifier, encoder: Classifier, discriminator: Discriminator, params: Adda) -> None:
        self._learner, self._encoder, self._params = learner, encoder, params
        self._discriminator: nn.Module = discriminator

    def __call__(self, batch: Together, moment: Moment) -> Losses:
        with torch.no_grad():
            source_SD = self._encoder.forward(batch.of["source"].x).features_BD
        target_TD = self._learner.forward(batch.of["target"].x).features_BD
        logits = self._discriminator(source_SD), self._discriminator(target_TD.detach())
        domain_loss = adversarial.domain_loss(*logits)
        mapping = self._inverted(target_TD)
        strength = self._params.strength(moment.progress)
        return {
            "loss": domain_loss + strength * mapping,
            "discriminator": domain_loss,
            "mapping": mapping,
            "domain_accuracy": adversarial.domain_accuracy(*logits),
        }

    def _inverted(self, target_TD: Tensor) -> Tensor:
        """−log D(target), with no gradient for the discriminator."""
        weights = {name: parameter.detach() for name, parameter in self._discriminator.named_parameters()}
        logit_T: Tensor = functional_call(self._discriminator, weights, (target_TD,))
        return nn.functional.softplus(-logit_T).mean()
