"""`dann`: Ganin et al. 2016, Domain-adversarial training of neural networks."""

from collections.abc import Mapping

from torch import Tensor

from app.methods.cross_domain.dann import Dann
from worker.methods.cross_domain import family as cross_domain
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Classifier, Outputs
from worker.terms import adversarial
from worker.terms.adversarial import Discriminator


class Adversary:
    """The discriminator's loss, which it minimises while the features maximise it."""

    def __init__(self, discriminator: Discriminator) -> None:
        self.module = discriminator

    def __call__(self, source: Outputs, target: Outputs, strength: float) -> Mapping[str, Tensor]:
        logits = [self.module(adversarial.reverse(outputs.features_BD, strength)) for outputs in (source, target)]
        loss = adversarial.domain_loss(*logits)
        return {"alignment": loss, "domain_accuracy": adversarial.domain_accuracy(*logits)}


def run(task: Task, params: Dann) -> Adapted:
    def build(learner: Classifier) -> Adversary:
        return Adversary(Discriminator(learner.structure.features, params.hidden).to(task.run.device))

    return cross_domain.adapt(task, params, build)
