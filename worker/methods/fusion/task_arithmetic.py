"""`task_arithmetic`: the sum of what several tunings changed."""

from app.methods.fusion.task_arithmetic import TaskArithmetic
from worker.methods.fusion import family as merging
from worker.methods.fusion.family import SCALES, Merger
from worker.methods.task import Adapted, Task
from worker.networks import merge


def run(task: Task, params: TaskArithmetic) -> Adapted:
    """Ilharco et al. 2023, section 2."""
    merger = Merger(task, params, candidates=len(SCALES) if params.chooses else 0)
    return merging.along(merger, merge.total(merger.of.vectors()), params.scale)
