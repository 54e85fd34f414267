"""`ssf`: scales and shifts of what frozen layers give, merged into their weights."""

from app.methods.supervised.ssf import Ssf
from worker.methods import supervision, transferred
from worker.methods.supervised import probing
from worker.methods.task import Adapted, Task
from worker.networks import scale_and_shift
from worker.training.freezing import Scope


def run(task: Task, params: Ssf) -> Adapted:
    """Lian et al. 2022, eq. 3 while it learns and eq. 5 in the end."""
    start = transferred.start(task, params.input)
    learner = start.learner
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    kept = start.report.head == "kept"
    params = params.starting(head_kept=kept).resolve(len(examples.train), learner.input.size)
    probing.start(task, learner, params, examples)
    heads = list(learner.structure.heads)
    corrected = scale_and_shift.insert(learner.module, aside=heads)
    learning = [*scale_and_shift.parts(learner.module), *heads, *learner.structure.live([*corrected, *heads])]
    supervision.learn(task, learner, params, examples, Scope(lambda epoch: learning, statistics=False))
    scale_and_shift.merge(learner.module)
    report = start.report | {"trainable": heads, "corrected": corrected}
    return Adapted(learner, start.spec, params, examples.use, report)
