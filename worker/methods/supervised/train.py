"""`train`: a network from scratch."""

from app.methods.supervised.train import Train
from worker.methods import inputs, supervision, transferred
from worker.methods.task import Adapted, Task
from worker.networks import anatomy, build
from worker.runtime import device
from worker.terms.base import Frame


def train(task: Task, params: Train) -> Adapted:
    input = params.input or inputs.default(params.network, task.target)
    classes = task.target.classes
    network = build.build(params.network, input)
    structure = anatomy.study(network, input)
    device.place(network, task.run.device)
    learner = Frame(network, structure, input, classes)
    seen = supervision.examples(task.run, task.target, params, input, classes)
    params = params.resolve(len(seen.train), input.size)
    supervision.learn(task, learner, params, seen)
    transfer = {"head": "new", "adapters": transferred.adapters(task.target, input)}
    return Adapted.of(learner, params.network, params, seen.use, transfer)
