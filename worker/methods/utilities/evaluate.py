"""`evaluate`: the checkpoint unchanged."""

from app.contract.transfer import TransferReport
from app.methods.utilities.evaluate import Evaluate
from worker.methods import inputs, transferred
from worker.methods.task import Adapted, Task
from worker.runtime import device


def run(task: Task, params: Evaluate) -> Adapted:
    source = inputs.resized(task.known_source, params.input)
    classifier = transferred.unchanged(source)
    device.place(classifier.module, task.run.device)
    transfer = TransferReport(head="kept", adapters=transferred.adapters(task.target, source.input))
    return Adapted(classifier, source.network, params, transfer=transfer)
