"""A frozen vision transformer with parts beside it that learn, and its head."""

from dataclasses import replace

from app.contract import extended as contract
from app.contract.extended import AnyParts
from app.contract.layers import for_input
from app.contract.transfer import TensorReport
from app.methods.supervised.family import ParameterEfficient
from worker.methods import supervision, transferred
from worker.methods.supervised import probing
from worker.methods.task import Adapted, Task
from worker.networks import extended
from worker.networks.structure import Structure
from worker.runtime import device
from worker.training.freezing import Scope


def learn(task: Task, params: ParameterEfficient, start: transferred.Start, parts: AnyParts) -> Adapted:
    """Give the source's network these parts, and train them and the head alone.

    Raises:
        Failure: `does_not_fit`, it is no vision transformer, or has such parts already.
    """
    learner = start.learner
    extended.require_room(learner.module, parts)
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    kept = start.report.head == "kept"
    params = params.starting(head_kept=kept).resolve(len(examples.train), learner.input.size)
    probing.start(task, learner, params, examples)
    paths = extended.insert(learner.module, parts)
    device.place(learner.module, task.run.device)
    learner = replace(learner, structure=Structure.of(learner.module, learner.input))
    heads = list(learner.structure.heads)
    learning = [*paths, *heads, *learner.structure.live([*paths, *heads])]
    supervision.learn(task, learner, params, examples, Scope(lambda epoch: learning))
    new = [name for name in learner.module.state_dict() if name.startswith(tuple(f"{path}." for path in paths))]
    tensors = start.report.tensors or TensorReport()
    tensors = tensors.model_copy(update={"initialised": [*tensors.initialised, *new]})
    report = start.report | {"tensors": tensors, "trainable": [*paths, *heads]}
    spec = contract.spec(for_input(start.spec, learner.input), parts)
    return Adapted(learner, spec, params, examples.use, report)
