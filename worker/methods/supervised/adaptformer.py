"""`adaptformer`: bottlenecks beside the MLPs of a frozen vision transformer."""

from app.contract.extended import AdapterParts
from app.methods.supervised.adaptformer import AdaptFormer
from worker.methods import transferred
from worker.methods.supervised import extending
from worker.methods.task import Adapted, Task


def run(task: Task, params: AdaptFormer) -> Adapted:
    """Chen et al. 2022, eq. 4 and 5."""
    parts = AdapterParts(dimensions=params.dimensions, scale=params.scale)
    return extending.learn(task, params, transferred.start(task, params.input), parts)
