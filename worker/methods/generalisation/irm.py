"""`irm`: features on which one classifier is the best in every environment."""

import torch
from torch import Tensor

from app.methods.generalisation.irm import Irm
from worker.methods.generalisation import family as generalisation
from worker.methods.generalisation.family import EnvironmentOutputs
from worker.methods.generalisation.penalised import Penalty
from worker.methods.task import Adapted, Task
from worker.terms import environments


def run(task: Task, params: Irm) -> Adapted:
    return generalisation.learn(task, params, lambda training: Penalty(training, params.weight, penalty))


def penalty(outputs: EnvironmentOutputs) -> Tensor:
    """Mean over environments."""
    each = [environments.irm_penalty(logits_BK, outputs.labels[name]) for name, logits_BK in outputs.logits.items()]
    return torch.stack(each).mean()
