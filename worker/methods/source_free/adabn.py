"""`adabn`: batch norm's statistics of the target, all else the source's."""

from app.methods.source_free.adabn import AdaBn
from worker.methods import transferred
from worker.methods.source_free import norms, unlabelled
from worker.methods.task import Adapted, LabelUse, Task


def run(task: Task, params: AdaBn) -> Adapted:
    """Li et al. 2018; with a prior, Schneider et al. 2020."""
    run = task.run
    learner, report = transferred.itself(task, params.input)
    paths = norms.require(learner, params.name)
    train = unlabelled.images(task, learner).train
    before = unlabelled.predict(run, learner, train)
    norms.estimate(run, learner, train, params.batch_size, params.prior, tell=True)
    after = unlabelled.predict(run, learner, train)
    transfer = report | {"estimated": paths, "predictions": unlabelled.report(run, before, after)}
    return Adapted(learner, task.known_source.network, params, LabelUse(), transfer)
