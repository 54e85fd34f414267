"""`fine_tune`: go on from the source's weights."""

from app.methods.fine_tune import FineTune
from worker.methods import supervised, transferred, tuning
from worker.methods.task import Adapted, Task


def fine_tune(task: Task, params: FineTune) -> Adapted:
    """Yosinski et al. 2014; the head first (`frozen_epochs`), then what `trainable` names."""
    begun = transferred.start(task, params.input)
    learner = begun.learner
    seen = supervised.examples(task.run, task.target, params, learner.input, begun.classes)
    params = params.resolve(len(seen.train), learner.input.size)
    beside = tuning.tune(task, learner, params, seen)
    transfer = begun.report | {"trainable": tuning.trainable(params, learner.anatomy)}
    return Adapted.of(learner, begun.spec, params, seen.use, transfer, source_head=beside.get("lwf"))
