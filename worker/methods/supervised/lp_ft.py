"""`lp_ft`: a linear probe first, then all weights from there."""

from app.methods.supervised.lp_ft import LpFt
from worker.methods import supervision, transferred
from worker.methods.supervised import probing, tuning
from worker.methods.task import Adapted, Task


def lp_ft(task: Task, params: LpFt) -> Adapted:
    """Kumar et al. 2022."""
    begun = transferred.start(task, params.input)
    learner = begun.learner
    seen = supervision.examples(task.run, task.target, params, learner.input, begun.classes)
    params = params.resolve(len(seen.train), learner.input.size)
    first = params.probing().resolve(len(seen.train), learner.input.size)
    task.run.expect(supervision.steps(first.schedule, seen) + supervision.steps(params.schedule, seen))
    probing.probe(task, learner, first, seen, run=task.run.part("probe"))
    beside = supervision.learn(task, learner, params, seen, tuning.scope(params, learner.structure))
    transfer = begun.report | {"trainable": tuning.trainable(params, learner.structure)}
    return Adapted(learner, begun.spec, params, seen.use, transfer, source_head=beside.get("lwf"))
