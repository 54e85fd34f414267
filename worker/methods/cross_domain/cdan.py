"""`cdan`: Long et al. 2018, Conditional adversarial domain adaptation."""

from collections.abc import Mapping

from torch import Tensor, nn

from app.methods.cross_domain.cdan import Cdan
from worker.methods.cross_domain import family as cross_domain
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Classifier, Outputs
from worker.terms import adversarial
from worker.terms.adversarial import Discriminator, Multilinear


class ConditionalAdversary:
    """A domain discriminator on T(f, p).  Predictions condition and weigh, but no gradient goes through them (as the
    authors' own code has it)."""

    def __init__(self, conditioned: Multilinear, discriminator: Discriminator, entropy: bool) -> None:
        self.module = nn.ModuleDict({"map": conditioned, "discriminator": discriminator})
        self._entropy = entropy

    def __call__(self, source: Outputs, target: Outputs, strength: float) -> Mapping[str, Tensor]:
        predictions = [outputs.logits_BK.detach().softmax(1) for outputs in (source, target)]
        logits = [
            self.module["discriminator"](self.module["map"](adversarial.reverse(outputs.features_BD, strength), p_BK))
            for outputs, p_BK in zip((source, target), predictions, strict=True)
        ]
        weights = [adversarial.certainty(p_BK) for p_BK in predictions] if self._entropy else []
        loss = adversarial.domain_loss(*logits, *weights)
        return {"alignment": loss, "domain_accuracy": adversarial.domain_accuracy(*logits)}


def run(task: Task, params: Cdan) -> Adapted:
    """The random maps are the discriminator's buffers, and so part of every snapshot."""

    def build(learner: Classifier) -> ConditionalAdversary:
        features, classes = learner.structure.features, len(learner.classes or ())
        randomised = params.randomised
        if randomised is None:
            randomised = features * classes > adversarial.FEATURES_AT_MOST
        generator = task.run.generator("cdan", "map")
        conditioned = Multilinear(features, classes, params.dimension, generator, randomised)
        discriminator = Discriminator(conditioned.out_features, params.hidden).to(task.run.device)
        return ConditionalAdversary(conditioned, discriminator, params.entropy)

    return cross_domain.adapt(task, params, build)
