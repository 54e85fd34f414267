"""`vrex`: as good in one environment as in the other."""

from app.methods.generalisation.vrex import Vrex
from worker.methods.generalisation import family as generalisation
from worker.methods.generalisation.penalised import Penalty
from worker.methods.task import Adapted, Task
from worker.terms import environments


def run(task: Task, params: Vrex) -> Adapted:
    return generalisation.learn(
        task,
        params,
        lambda training: Penalty(training, params.weight, lambda outputs: environments.risk_variance(outputs.risk_E)),
    )
