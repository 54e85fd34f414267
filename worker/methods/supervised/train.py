"""`train`: a network from scratch."""

from app.contract.transfer import TransferReport
from app.methods.supervised.train import Train
from worker.methods import inputs, supervision, transferred
from worker.methods.task import Adapted, Task
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device


def run(task: Task, params: Train) -> Adapted:
    input = params.input or inputs.default(params.network, task.target, task.run)
    classes = task.target.classes
    network = build.build(params.network, input)
    structure = Structure.of(network, input)
    device.place(network, task.run.device)
    learner = Classifier(network, structure, input, classes)
    examples = supervision.examples(task.run, task.target, params, input, classes)
    params = params.resolve(len(examples.train), input.size)
    supervision.learn(task, learner, params, examples)
    transfer = TransferReport(head="new", adapters=transferred.adapters(task.target, input))
    return Adapted(learner, params.network, params, examples.use, transfer)
