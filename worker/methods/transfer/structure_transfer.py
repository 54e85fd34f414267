"""`structure_transfer`: the source's whole architecture, for other classes and other images."""

from app.contract.inputs import InputSpec
from app.contract.layers import for_input, with_classes
from app.contract.transfer import TensorReport, TransferReport
from app.methods.transfer.structure_transfer import StructureTransfer
from worker.methods import inputs, supervision, transferred
from worker.methods.task import Adapted, Source, Task
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device


def run(task: Task, params: StructureTransfer) -> Adapted:
    source, classes = task.known_source, task.target.classes
    input = params.input or _input(task, source)
    spec = for_input(with_classes(source.network, len(classes)), input)
    network = build.build(spec, input)
    structure = Structure.of(network, input)
    learner = Classifier(network, structure, input, classes)
    kept = params.weights and classes == source.classes and task.same_kind
    report = transferred.take_over(source, learner, with_head=kept) if params.weights else TensorReport()
    device.place(network, task.run.device)
    examples = supervision.examples(task.run, task.target, params, input, classes)
    params = params.resolve(len(examples.train), input.size)
    supervision.learn(task, learner, params, examples)
    transfer = TransferReport(
        tensors=report,
        head="kept" if kept else "new",
        adapters=transferred.adapters(task.target, input),
    )
    return Adapted(learner, spec, params, examples.use, transfer)


def _input(task: Task, source: Source) -> InputSpec:
    """The source's, but for colour: as the target's images are."""
    image = task.target.image
    channels = source.input.channels if image is None else image.channels
    if channels == source.input.channels:
        return source.input
    return inputs.fitted(source.input, channels, task.target)
