"""`lp_ft`: a linear probe first, then all weights from there."""

from app.methods.supervised.lp_ft import LpFt
from worker.methods import supervision, transferred
from worker.methods.supervised import probing, tuning
from worker.methods.task import Adapted, Task


def run(task: Task, params: LpFt) -> Adapted:
    """Kumar et al. 2022."""
    start = transferred.start(task, params.input)
    learner = start.learner
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    params = params.resolve(len(examples.train), learner.input.size)
    first = params.probing().resolve(len(examples.train), learner.input.size)
    task.run.expect(supervision.steps(first.schedule, examples) + supervision.steps(params.schedule, examples))
    probing.probe(task, learner, first, examples, run=task.run.part("probe"))
    companions = supervision.learn(task, learner, params, examples, tuning.scope(params, learner))
    transfer = start.report | {"trainable": tuning.trainable(params, learner)}
    return Adapted(learner, start.spec, params, examples.use, transfer, source_head=companions.get("lwf"))
