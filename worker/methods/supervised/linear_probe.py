"""`linear_probe`: a linear head on frozen features."""

from app.methods.supervised.linear_probe import LinearProbe
from worker.methods import supervision, transferred
from worker.methods.supervised import probing
from worker.methods.task import Adapted, Task


def run(task: Task, params: LinearProbe) -> Adapted:
    """Alain & Bengio 2017."""
    start = transferred.start(task, params.input)
    learner = start.learner
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    params = params.resolve(len(examples.train), learner.input.size)
    probing.probe(task, learner, params, examples)
    transfer = start.report | {"trainable": list(learner.structure.heads)}
    return Adapted(learner, start.spec, params, examples.use, transfer)
