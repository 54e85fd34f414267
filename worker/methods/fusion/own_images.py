"""Images that a source was trained on, by which its weights are weighed."""

import math
from collections.abc import Iterator

from torch import Tensor

from app.methods.fusion.family import FromOwnImages
from worker.methods.fusion.family import Merger
from worker.methods.task import Task
from worker.runtime.contract import Failure


def batches(task: Task, params: FromOwnImages, merger: Merger, source: str, size: int) -> Iterator[Tensor]:
    """Batches of `size` images of what `source` was trained on: `params.images` in all, of several datasets in
    proportion to their sizes.

    Raises:
        Failure: `does_not_fit`, that is not known, or there are none.
    """
    domains = [task.environments[id_] for id_ in params.training_sets.get(source, ())]
    counts = [len(domain.images.rows("train")) for domain in domains]
    if not sum(counts):
        raise Failure("does_not_fit", f"There are no training images of what {source} was trained on.")
    for domain, count in zip(domains, counts, strict=True):
        share = min(count, math.ceil(params.images * count / sum(counts)))
        yield from merger.batches_of(domain, task.teachers[source].input, share, size)
