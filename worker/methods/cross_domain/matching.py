"""`dan`, `jan`, `coral` and `mcc`: a quantity of both domains' batches that is minimised itself."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from app.methods.cross_domain.coral import Coral
from app.methods.cross_domain.dan import Dan
from app.methods.cross_domain.family import CrossDomain
from app.methods.cross_domain.jan import Jan
from app.methods.cross_domain.mcc import Mcc
from worker.methods.cross_domain import family as cross_domain
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Outputs
from worker.terms.confusion import class_confusion
from worker.terms.coral import coral as correlation_distance
from worker.terms.mmd import joint_mmd, mmd

Quantity = Callable[[Outputs, Outputs], Tensor]


class Matched:
    """The quantity times its weight, logged under its name."""

    module: nn.Module | None = None

    def __init__(self, name: str, quantity: Quantity) -> None:
        self._name, self._quantity = name, quantity

    def __call__(self, source: Outputs, target: Outputs, strength: float) -> Mapping[str, Tensor]:
        value = self._quantity(source, target)
        return {"alignment": strength * value, self._name: value}


def dan(task: Task, params: Dan) -> Adapted:
    """Long et al. 2015, eq. 2 and 4, on what the head sees."""
    return _match(task, params, "mmd", lambda source, target: mmd(source.features_BD, target.features_BD))


def jan(task: Task, params: Jan) -> Adapted:
    """Long et al. 2017, eq. 9, on what the head sees and what it says."""

    def distance(source: Outputs, target: Outputs) -> Tensor:
        pairs = [(outputs.features_BD, outputs.logits_BK.softmax(1)) for outputs in (source, target)]
        return joint_mmd(*pairs)

    return _match(task, params, "joint_mmd", distance)


def coral(task: Task, params: Coral) -> Adapted:
    """Sun & Saenko 2016, eq. 1."""

    def distance(source: Outputs, target: Outputs) -> Tensor:
        if params.on == "scores":
            return correlation_distance(source.logits_BK, target.logits_BK)
        return correlation_distance(source.features_BD, target.features_BD)

    return _match(task, params, "coral", distance)


def mcc(task: Task, params: Mcc) -> Adapted:
    """Jin et al. 2020, eq. 7."""
    return _match(
        task, params, "confusion", lambda source, target: class_confusion(target.logits_BK, params.temperature)
    )


def _match(task: Task, params: CrossDomain, name: str, quantity: Quantity) -> Adapted:
    return cross_domain.adapt(task, params, lambda learner: Matched(name, quantity))
