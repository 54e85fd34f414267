"""`erm`: the mean risk over all environments."""

from app.methods.erm import Erm
from worker.methods import generalisation
from worker.methods.penalised import MeanRisk
from worker.methods.task import Adapted, Task


def erm(task: Task, params: Erm) -> Adapted:
    return generalisation.learn(task, params, MeanRisk)
