"""`dare`: most of what each tuning changed is dropped at random, and the rest is made up for it."""

from app.methods.fusion.dare import Dare
from worker.methods.fusion import family as merging
from worker.methods.fusion.family import SCALES, Merger
from worker.methods.task import Adapted, Task
from worker.networks import merge
from worker.runtime import seeds


def run(task: Task, params: Dare) -> Adapted:
    """Yu et al. 2024, eq. 1 and 2: drop and rescale, then task arithmetic."""
    merger = Merger(task, params, candidates=len(SCALES) if params.chooses else 0)
    vectors = [
        merge.thinned(vector, params.drop, seeds.generator(task.run.seed, "dare", source))
        for source, vector in enumerate(merger.of.vectors())
    ]
    return merging.along(merger, merge.total(vectors), params.scale)
