"""`evaluate`: the checkpoint unchanged."""

from dataclasses import replace

from app.contract.transfer import TransferReport
from app.methods.utilities.evaluate import Evaluate
from worker.methods import transferred
from worker.methods.task import Adapted, Task
from worker.runtime import device


def run(task: Task, params: Evaluate) -> Adapted:
    source = task.known_source
    input = params.input.apply(source.input) if params.input else source.input
    classifier = replace(transferred.unchanged(source), input=input)
    device.place(classifier.module, task.run.device)
    transfer = TransferReport(head="kept", adapters=transferred.adapters(task.target, input))
    return Adapted(classifier, source.network, params, transfer=transfer)
