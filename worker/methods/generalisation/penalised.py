"""The mean risk of the environments, alone or with a penalty whose weight rises when the risk has been learnt."""

from collections.abc import Callable, Mapping

from torch import Tensor

from worker.methods.generalisation.family import EnvironmentOutputs, EnvironmentTraining
from worker.training.protocols import Losses, Moment, Stateful


class MeanRisk:
    stateful: Mapping[str, Stateful] = {}

    def __init__(self, training: EnvironmentTraining) -> None:
        pass

    def __call__(self, outputs: EnvironmentOutputs, moment: Moment) -> Losses:
        return {"loss": outputs.risk_E.mean()}


class Penalty:
    """risk + λ · penalty, over λ where that is above 1, so that gradients keep their size (as Arjovsky et al. do)."""

    stateful: Mapping[str, Stateful] = {}

    def __init__(
        self, training: EnvironmentTraining, weight: float, penalty: Callable[[EnvironmentOutputs], Tensor]
    ) -> None:
        self._turn, self._weight, self._penalty = training.turn, weight, penalty

    def __call__(self, outputs: EnvironmentOutputs, moment: Moment) -> Losses:
        weight = self._weight if moment.step >= self._turn else min(1.0, self._weight)
        risk, penalty = outputs.risk_E.mean(), self._penalty(outputs)
        return {"loss": (risk + weight * penalty) / max(1.0, weight), "risk": risk, "penalty": penalty}
