"""`vrex`: as good in one environment as in the other."""

from app.methods.vrex import Vrex
from worker.methods import generalisation
from worker.methods.penalised import Penalty
from worker.methods.task import Adapted, Task
from worker.terms import environments


def vrex(task: Task, params: Vrex) -> Adapted:
    return generalisation.learn(
        task,
        params,
        lambda course: Penalty(course, params.weight, lambda seen: environments.risk_variance(seen.risk_E)),
    )
