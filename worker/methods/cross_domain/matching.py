"""A quantity of both domains' batches that is minimised itself."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from app.methods.cross_domain.family import CrossDomain
from worker.methods.cross_domain import family as cross_domain
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Outputs

Quantity = Callable[[Outputs, Outputs], Tensor]


class Matched:
    """The quantity times its weight, logged under its name."""

    module: nn.Module | None = None

    def __init__(self, name: str, quantity: Quantity) -> None:
        self._name, self._quantity = name, quantity

    def __call__(self, source: Outputs, target: Outputs, strength: float) -> Mapping[str, Tensor]:
        value = self._quantity(source, target)
        return {"alignment": strength * value, self._name: value}


def match(task: Task, params: CrossDomain, name: str, quantity: Quantity) -> Adapted:
    """Learn from the source's labels while the `quantity` of both domains' batches falls, logged as `name`."""
    return cross_domain.adapt(task, params, lambda learner: Matched(name, quantity))
