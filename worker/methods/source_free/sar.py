"""`sar`: norms' scales and shifts, moved to where sure predictions stay sure all around."""

import math
from dataclasses import replace

from torch import Tensor

from app.methods.source_free.sar import Sar
from worker.data.batches import Batch
from worker.methods.source_free import on_norms
from worker.methods.source_free.on_norms import Aim
from worker.methods.task import Adapted, Task
from worker.metrics.share import Share
from worker.networks.classifier import Classifier
from worker.networks.norms import scaled
from worker.runtime.contract import Failure, Note
from worker.terms import information, reliable
from worker.training.protocols import Losses, Moment

STAGES = 4  # the last of so many stays: blocks 9 to 11 of a ViT's 12, the last of a ResNet's four, as published


def run(task: Task, params: Sar) -> Adapted:
    """Niu et al. 2023, on a set of images instead of a stream."""
    begun = on_norms.begin(task, params, batch_norm_alone=False)
    learner, classes = begun.learner, task.known_source.network.num_classes
    stages = learner.structure.stages
    frozen = len(stages) // STAGES if params.frozen_stages is None else params.frozen_stages
    closed = begun.params.model_copy(update={"frozen_stages": frozen})
    begun = replace(begun, params=closed, held=held(learner, frozen))
    margin = params.entropy_margin * math.log(classes)
    taken, falling = Share(), reliable.Falling(params.recovery_margin * math.log(classes))
    below: list[Tensor] = []  # which images of the batch were sure at the first look

    def loss(batch: Batch, moment: Moment) -> Losses:
        """Eq. 2 to 4: what was sure at the weights themselves, and still is above them."""
        entropy_B = information.entropy(learner.module(batch.x))
        sure_B = entropy_B.detach() < margin
        if moment.above:
            sure_B = sure_B & below.pop()
            mean = reliable.mean(entropy_B, sure_B)
            if sure_B.any():
                falling.add(float(mean.detach()))
            return {"loss": mean}
        below[:] = [sure_B]
        taken.add(sure_B.float().mean())
        return {"loss": reliable.mean(entropy_B, sure_B), "entropy": entropy_B.mean(), "taken": sure_B.float().mean()}

    aim = Aim(loss, {"falling": falling}, taken, params.rho, falling.below)
    adapted = begun.fit(aim)
    if falling.times:
        message = (
            f"{falling.times} times the loss fell below `recovery_margin`, and the network began anew from the source's"
            " weights: where the source is as sure as that from the start, lower it, or nothing is learnt."
        )
        task.run.emit(Note("recovered", message, "warning", {"recoveries": falling.times}))
    return replace(adapted, transfer=adapted.transfer | {"recoveries": falling.times})


def held(learner: Classifier, stages: int) -> frozenset[str]:
    """Paths of the norms in the last `stages` stages.

    Raises:
        Failure: `does_not_fit`, they are all in these.
    """
    last = tuple(
        f"{path}." for stage in learner.structure.stages[len(learner.structure.stages) - stages :] for path in stage
    )
    norms = list(scaled(learner.module))
    found = frozenset(path for path in norms if f"{path}.".startswith(last))
    if len(found) == len(norms):
        raise Failure("does_not_fit", f"All norms are in the last {stages} stages: give less of `frozen_stages`.")
    return found
