"""The start of methods that can do without a source."""

from dataclasses import replace

from app.contract.layers import with_classes
from app.contract.transfer import TransferReport
from app.methods.start import Start
from worker.methods import inputs, transferred
from worker.methods.task import Domain, Task
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Failure


def begin(task: Task, params: Start, domain: Domain, classes: list[str]) -> transferred.Start:
    """The method's own network, newly drawn for images of `domain`, or the source's, ready to learn `classes`."""
    if params.network is None:
        start = transferred.start(task, None, classes)
        return replace(start, report=start.report | {"adapters": transferred.adapters(domain, start.learner.input)})
    if task.source is not None:
        raise Failure("does_not_fit", "A network is newly drawn, a checkpoint has its own: leave one of them out.")
    spec = with_classes(params.network, len(classes))
    input = params.input or inputs.default(spec, domain, task.run)
    network = build.build(spec, input)
    structure = Structure.of(network, input)
    device.place(network, task.run.device)
    report = TransferReport(head="new", adapters=transferred.adapters(domain, input))
    return transferred.Start(spec, Classifier(network, structure, input, classes), classes, report)
