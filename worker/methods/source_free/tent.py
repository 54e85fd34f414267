"""`tent`: batch norm's scales and shifts, moved until the predictions are sure."""

from app.methods.source_free.tent import Tent
from worker.data.batches import Batch
from worker.methods.source_free import on_norms
from worker.methods.source_free.on_norms import Aim
from worker.methods.task import Adapted, Task
from worker.terms import information
from worker.training.protocols import Losses, Moment


def run(task: Task, params: Tent) -> Adapted:
    """Wang et al. 2021, on a set of images instead of a stream."""
    begun = on_norms.begin(task, params, batch_norm_alone=True)

    def loss(batch: Batch, moment: Moment) -> Losses:
        return {"loss": information.entropy(begun.learner.module(batch.x)).mean()}

    return begun.fit(Aim(loss))
