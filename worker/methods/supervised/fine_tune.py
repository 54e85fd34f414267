"""`fine_tune`: the source's weights go on learning on the target's labels, the head first."""

from app.methods.supervised.fine_tune import FineTune
from worker.methods import supervision, transferred
from worker.methods.supervised import tuning
from worker.methods.task import Adapted, Task


def run(task: Task, params: FineTune) -> Adapted:
    """Fine-tune the source's network on the target (Yosinski et al. 2014).

    It starts with the source's weights, and with a new head where the target has other classes.  Within the label
    budget it learns from the target's training images: in the first `frozen_epochs` the head alone, then what
    `trainable` names, every weight at its own share of the learning rate; `terms` join the loss.  It ends with the
    weights that validated best.
    """
    start = transferred.start(task, params.input)
    learner = start.learner
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    params = params.resolve(len(examples.train), learner.input.size)
    scope = tuning.scope(params, learner.structure)
    companions = supervision.learn(task, learner, params, examples, scope)
    report = start.report | {"trainable": tuning.trainable(params, learner.structure)}
    return Adapted(learner, start.spec, params, examples.use, report, source_head=companions.get("lwf"))
