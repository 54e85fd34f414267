"""`evaluate`: the checkpoint unchanged."""

from app.methods.evaluate import Evaluate
from worker.engine import device
from worker.methods import transferred
from worker.methods.task import Adapted, Task


def evaluate(task: Task, params: Evaluate) -> Adapted:
    source = task.known_source
    input = params.input.apply(source.input) if params.input else source.input
    network, structure = transferred.unchanged(source)
    device.place(network, task.run.device)
    transfer = {"head": "kept", "adapters": transferred.adapters(task.target, input)}
    return Adapted(network, structure, source.network, input, source.classes, params, transfer=transfer)
