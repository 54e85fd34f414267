"""`mcc`: predictions on the target that confuse no two classes."""

from app.methods.cross_domain.mcc import Mcc
from worker.methods.cross_domain import matching
from worker.methods.task import Adapted, Task
from worker.terms.confusion import class_confusion


def run(task: Task, params: Mcc) -> Adapted:
    """Jin et al. 2020, eq. 7."""
    return matching.match(
        task, params, "confusion", lambda source, target: class_confusion(target.logits_BK, params.temperature)
    )
