"""`freematch`: thresholds that follow how sure the network is, of each class."""

from collections.abc import Mapping

from torch import Tensor

from app.methods.semi_supervised.freematch import FreeMatch
from worker.methods.semi_supervised import family as semi_supervised
from worker.methods.semi_supervised.family import Space
from worker.methods.task import Adapted, Task
from worker.terms import consistency, self_adaptive
from worker.terms.self_adaptive import AdaptiveThreshold
from worker.training.protocols import Stateful


class AdaptiveConsistency:
    """Cross-entropy with what reaches the threshold of its class and step, and fairness among the classes."""

    def __init__(self, space: Space, params: FreeMatch) -> None:
        self._threshold = AdaptiveThreshold(space.classes, params.momentum_threshold, space.device)
        self._fairness = params.fairness
        self.stateful: Mapping[str, Stateful] = {"threshold": self._threshold}

    def __call__(self, weak_MK: Tensor, strong_MK: Tensor) -> Mapping[str, Tensor]:
        p_MK = weak_MK.softmax(1)
        self._threshold.update(p_MK)
        pseudo = consistency.above(p_MK, self._threshold.thresholds())
        on_images = consistency.loss(strong_MK, pseudo)
        fairness = self_adaptive.fairness(strong_MK, pseudo, self._threshold)
        return {
            "consistency": on_images + self._fairness * fairness,
            "fairness": fairness,
            "threshold": self._threshold.confidence.clone(),
            "sure": pseudo.share,
        }


def run(task: Task, params: FreeMatch) -> Adapted:
    """Wang et al. 2023, algorithm 1."""
    return semi_supervised.learn(task, params, lambda space: AdaptiveConsistency(space, params))
