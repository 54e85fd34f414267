"""`fixmatch`: sure predictions are the labels of images that have none."""

from collections.abc import Mapping

import torch
from torch import Tensor

from app.methods.semi_supervised.fixmatch import FixMatch
from worker.methods.semi_supervised import family as semi_supervised
from worker.methods.semi_supervised.family import Space
from worker.methods.task import Adapted, Task
from worker.terms import consistency
from worker.training.protocols import Stateful


class FixedThreshold:
    """Cross-entropy with the predictions that reach one threshold, the same for all classes at all steps."""

    def __init__(self, space: Space, threshold: float) -> None:
        self._threshold_K = torch.full((space.classes,), threshold, device=space.device)
        self.stateful: Mapping[str, Stateful] = {}

    def __call__(self, weak_MK: Tensor, strong_MK: Tensor) -> Mapping[str, Tensor]:
        pseudo = consistency.above(weak_MK.softmax(1), self._threshold_K)
        return {"consistency": consistency.loss(strong_MK, pseudo), "sure": pseudo.share}


def run(task: Task, params: FixMatch) -> Adapted:
    """Sohn et al. 2020, algorithm 1."""
    return semi_supervised.learn(task, params, lambda space: FixedThreshold(space, params.threshold))
