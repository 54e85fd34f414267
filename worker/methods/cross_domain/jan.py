"""`jan`: features and predictions of the same joint distribution in both domains."""

from torch import Tensor

from app.methods.cross_domain.jan import Jan
from worker.methods.cross_domain import matching
from worker.methods.task import Adapted, Task
from worker.networks.classifier import Outputs
from worker.terms.mmd import joint_mmd


def run(task: Task, params: Jan) -> Adapted:
    """Long et al. 2017, eq. 9, on what the head sees and what it says."""

    def distance(source: Outputs, target: Outputs) -> Tensor:
        pairs = [(outputs.features_BD, outputs.logits_BK.softmax(1)) for outputs in (source, target)]
        return joint_mmd(*pairs)

    return matching.match(task, params, "joint_mmd", distance)
