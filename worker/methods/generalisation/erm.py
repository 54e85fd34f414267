"""`erm`: the mean risk over all environments."""

from app.methods.generalisation.erm import Erm
from worker.methods.generalisation import family as generalisation
from worker.methods.generalisation.penalised import MeanRisk
from worker.methods.task import Adapted, Task


def run(task: Task, params: Erm) -> Adapted:
    return generalisation.learn(task, params, MeanRisk)
