"""`fine_tune`: go on from the source's weights."""

from app.methods.supervised.fine_tune import FineTune
from worker.methods import supervision, transferred
from worker.methods.supervised import tuning
from worker.methods.task import Adapted, Task


def fine_tune(task: Task, params: FineTune) -> Adapted:
    """Yosinski et al. 2014; the head first (`frozen_epochs`), then what `trainable` names."""
    begun = transferred.start(task, params.input)
    learner = begun.learner
    seen = supervision.examples(task.run, task.target, params, learner.input, begun.classes)
    params = params.resolve(len(seen.train), learner.input.size)
    beside = supervision.learn(task, learner, params, seen, tuning.scope(params, learner.structure))
    transfer = begun.report | {"trainable": tuning.trainable(params, learner.structure)}
    return Adapted(learner, begun.spec, params, seen.use, transfer, source_head=beside.get("lwf"))
