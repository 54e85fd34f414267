"""Norms where images are all there is: which layers, and batch norm's statistics on these images."""

from collections.abc import Iterator

from torch import Tensor

from worker.data import batches as data
from worker.data.batches import Images
from worker.methods.source_free import unlabelled
from worker.networks import norms
from worker.networks.classifier import Classifier
from worker.runtime.contract import Failure
from worker.runtime.run import Run
from worker.training import statistics


def require(learner: Classifier, method: str) -> list[str]:
    """Paths of the batch norms.

    Raises:
        Failure: `does_not_fit`, there are none.
    """
    paths = list(statistics.norms(learner.module))
    if not paths:
        raise Failure(
            "does_not_fit",
            f"`{method}` adapts batch norm alone, and the network has none that keeps statistics: `shot` needs none.",
        )
    return paths


def require_any(learner: Classifier, method: str) -> list[str]:
    """Paths of the norms of all kinds with scales or shifts, and of all batch norms.

    Raises:
        Failure: `does_not_fit`, none has any.
    """
    scaled = norms.scaled(learner.module)
    if not scaled:
        raise Failure(
            "does_not_fit",
            f"`{method}` adapts norms' scales and shifts, and the network has none: `shot` needs none.",
        )
    return list(scaled | statistics.norms(learner.module))


def estimate(
    run: Run, learner: Classifier, images: Images, batch_size: int, prior: int = 0, *, tell: bool = False
) -> None:
    """Estimate batch-norm statistics by `statistics.estimate`.

    The images come in a random order: sorted by class, no batch would stand for all.

    `tell`: this is the run's work, and is reported as such.
    """
    shuffled = data.image_batches(
        run, images, prepare=unlabelled.prepare(run, learner), batch_size=batch_size, stream="statistics"
    )

    def batches() -> Iterator[Tensor]:
        for done, batch in enumerate(shuffled.epoch(0)):
            run.checkpoint_or_stop()
            if tell:
                run.tell(done, shuffled.per_epoch)
            yield batch.x

    statistics.estimate(learner.module, batches(), prior)
    if tell:
        run.tell(shuffled.per_epoch, shuffled.per_epoch)
