"""A linear head on what a frozen backbone makes of the images: features once, unless every epoch sees other pixels."""

from dataclasses import replace

from app.methods.training import Training
from worker.data import batches as data
from worker.methods import extraction, loop, objective, supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.runtime.run import Run
from worker.training import features


def probe(task: Task, learner: Classifier, params: Training, seen: Examples, run: Run | None = None) -> None:
    """Train the head alone; the backbone stays in evaluation mode, bit for bit."""
    run = run or task.run
    learner.module.eval()
    if params.augmentation or params.mixing or params.terms or not learner.structure.separable:
        heads = list(learner.structure.heads)
        supervision.learn(task, learner, params, seen, trainable=lambda epoch: heads, run=run)
    else:
        _on_features(task, learner, params, seen, run)


def _on_features(task: Task, learner: Classifier, params: Training, seen: Examples, run: Run) -> None:
    train, validation = extraction.features(task, learner, seen, run)
    head = replace(learner, module=learner.module.get_submodule(learner.structure.head))
    batches = data.row_batches(
        run,
        train.x_ND,
        train.label_N,
        batch_size=loop.closed(params.batch_size),
        weight_N=supervision.drawing(params, train.label_N, learner),
    )
    loss = objective.build(task, head, params, seen.train, lambda: features.batches(train))
    validate_on = (lambda: features.batches(validation)) if len(validation) else None
    supervision.minimise(run, head.module, params, batches, loss, validate_on)
