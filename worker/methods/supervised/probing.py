"""A linear head on what a frozen backbone makes of the images: features once, unless every epoch sees other pixels."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from torch import nn

from app.methods.supervised.family import ParameterEfficient
from app.methods.training import Training
from worker.data import batches as data
from worker.methods import extraction, objective, supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.runtime.run import Run
from worker.training import evaluate, features
from worker.training.conditioning import Scaling
from worker.training.freezing import Scope
from worker.training.trainer import Trainer


def probe(task: Task, learner: Classifier, params: Training, examples: Examples, run: Run | None = None) -> None:
    """Train the head alone; the backbone stays in evaluation mode, bit for bit."""
    run = run or task.run
    learner.module.eval()
    if params.augmentation or params.mixing or params.terms or not learner.structure.separable:
        heads = list(learner.structure.heads)
        supervision.learn(task, learner, params, examples, Scope(lambda epoch: heads), run=run)
    else:
        _on_features(task, learner, params, examples, run)


def start(task: Task, learner: Classifier, params: ParameterEfficient, examples: Examples) -> None:
    """Train the head alone before anything else of a network is given, where the resolved `params` say so."""
    if params.head_start == "probe":
        first = params.probing().resolve(len(examples.train), learner.input.size)
        task.run.expect(supervision.steps(first.schedule, examples) + supervision.steps(params.schedule, examples))
        probe(task, learner, first, examples, run=task.run.part("probe"))


def _on_features(task: Task, learner: Classifier, params: Training, examples: Examples, run: Run) -> None:
    schedule = params.schedule
    train, validation = extraction.features(task, learner, examples, run)
    layer = learner.module.get_submodule(learner.structure.head)
    head = replace(learner, module=layer)
    scaled: AbstractContextManager[None] = nullcontext()
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        scaling = Scaling.of(train.x_ND)
        train, validation, scaled = scaling.apply(train), scaling.apply(validation), scaling.within(layer)
    batches = data.row_batches(
        run,
        train.x_ND,
        train.label_N,
        batch_size=schedule.batch_size,
        weight_N=supervision.drawing(params, train.label_N, learner),
    )
    loss = objective.build(task, head, params, examples.train, lambda: features.batches(train))
    validate = evaluate.validator(run, head.module, lambda: features.batches(validation), schedule.metric)
    with scaled:
        Trainer(run, head, schedule).fit(batches, loss, validate if len(validation) else None)
