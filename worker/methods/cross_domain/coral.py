"""`coral`: features, or scores, of the same covariance in both domains."""

from torch import Tensor

from app.methods.cross_domain.coral import Coral
from worker.methods.cross_domain import matching
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Outputs
from worker.terms.coral import coral


def run(task: Task, params: Coral) -> Adapted:
    """Sun & Saenko 2016, eq. 1."""

    def distance(source: Outputs, target: Outputs) -> Tensor:
        if params.on == "scores":
            return coral(source.logits_BK, target.logits_BK)
        return coral(source.features_BD, target.features_BD)

    return matching.match(task, params, "coral", distance)
