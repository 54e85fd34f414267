"""`ties`: trim, elect signs, merge what agrees."""

from app.methods.fusion.ties import Ties
from worker.methods.fusion import family as merging
from worker.methods.fusion.family import SCALES, Merger
from worker.methods.task import Adapted, Task
from worker.networks import merge


def run(task: Task, params: Ties) -> Adapted:
    """Yadav et al. 2023, algorithm 1."""
    merger = Merger(task, params, candidates=len(SCALES) if params.chooses else 0)
    return merging.along(merger, merge.ties(merger.of.vectors(), params.keep), params.scale)
