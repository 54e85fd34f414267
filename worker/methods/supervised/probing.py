"""A linear head on what a frozen backbone makes of the images: features once, unless every epoch sees other pixels."""

from app.methods.training import Training
from worker.data import batches as data
from worker.methods import extraction, loop, objective, supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.runtime.run import Run
from worker.terms.base import Frame
from worker.training import features


def probe(task: Task, learner: Frame, params: Training, seen: Examples, run: Run | None = None) -> None:
    """Train the head alone; the backbone stays in evaluation mode, bit for bit."""
    run = run or task.run
    learner.network.eval()
    if params.augmentation or params.mixing or params.terms or not learner.anatomy.separable:
        heads = list(learner.anatomy.heads)
        supervision.learn(task, learner, params, seen, trainable=lambda epoch: heads, run=run)
    else:
        _on_features(task, learner, params, seen, run)


def _on_features(task: Task, learner: Frame, params: Training, seen: Examples, run: Run) -> None:
    train, validation = extraction.features(task, learner, seen, run)
    head = Frame(learner.network.get_submodule(learner.anatomy.head), learner.anatomy, learner.input, learner.classes)
    batches = data.row_batches(
        run,
        train.x_ND,
        train.label_N,
        batch_size=loop.closed(params.batch_size),
        weight_N=supervision.drawing(params, train.label_N, learner),
    )
    loss = objective.build(task, head, params, seen.train, lambda: features.batches(train))
    validate_on = (lambda: features.batches(validation)) if len(validation) else None
    supervision.minimise(run, head.network, params, batches, loss, validate_on)
