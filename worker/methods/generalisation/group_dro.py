"""`group_dro`: the environments that go worst weigh most."""

from collections.abc import Mapping

import torch

from app.methods.generalisation.group_dro import GroupDro
from worker.methods.generalisation import family as generalisation
from worker.methods.generalisation.family import EnvironmentOutputs, EnvironmentTraining
from worker.methods.task import Adapted, Task
from worker.runtime.run import State
from worker.terms import environments
from worker.training.protocols import Losses, Moment, Stateful


def run(task: Task, params: GroupDro) -> Adapted:
    return generalisation.learn(task, params, lambda training: Reweighting(training, params.eta))


class Reweighting:
    """Σ wₑ · riskₑ; the weights are equal at first, and part of the snapshot."""

    def __init__(self, training: EnvironmentTraining, eta: float) -> None:
        self._eta = eta
        self._weight_E = torch.full((training.environments,), 1 / training.environments, device=training.device)

    @property
    def stateful(self) -> Mapping[str, Stateful]:
        return {"weights": self}

    def __call__(self, outputs: EnvironmentOutputs, moment: Moment) -> Losses:
        self._weight_E = environments.reweighted(self._weight_E, outputs.risk_E, self._eta)
        return {"loss": (self._weight_E * outputs.risk_E).sum(), "largest_weight": self._weight_E.max()}

    def state_dict(self) -> State:
        return {"weight_E": self._weight_E}

    def load_state_dict(self, state: State) -> None:
        self._weight_E = state["weight_E"].to(self._weight_E.device)
