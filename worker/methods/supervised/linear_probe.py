"""`linear_probe`: a linear head on frozen features."""

from app.methods.supervised.linear_probe import LinearProbe
from worker.methods import supervision, transferred
from worker.methods.supervised import probing
from worker.methods.task import Adapted, Task


def linear_probe(task: Task, params: LinearProbe) -> Adapted:
    """Alain & Bengio 2017."""
    begun = transferred.start(task, params.input)
    learner = begun.learner
    seen = supervision.examples(task.run, task.target, params, learner.input, begun.classes)
    params = params.resolve(len(seen.train), learner.input.size)
    probing.probe(task, learner, params, seen)
    transfer = begun.report | {"trainable": list(learner.structure.heads)}
    return Adapted(learner, begun.spec, params, seen.use, transfer)
