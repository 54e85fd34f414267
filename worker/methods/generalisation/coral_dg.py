"""`coral_dg`: features of the same means and covariances in every environment."""

from collections.abc import Mapping

from app.methods.generalisation.coral_dg import CoralDg
from worker.methods.generalisation import family as generalisation
from worker.methods.generalisation.family import EnvironmentOutputs
from worker.methods.task import Adapted, Task
from worker.terms import environments
from worker.training.protocols import Losses, Moment, Stateful


def run(task: Task, params: CoralDg) -> Adapted:
    return generalisation.learn(task, params, lambda training: Aligned(params.weight))


class Aligned:
    """The mean risk and how far the environments' features are apart."""

    stateful: Mapping[str, Stateful] = {}

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def __call__(self, outputs: EnvironmentOutputs, moment: Moment) -> Losses:
        risk, apart = outputs.risk_E.mean(), environments.moments_apart(list(outputs.features.values()))
        return {"loss": risk + self._weight * apart, "risk": risk, "apart": apart}
