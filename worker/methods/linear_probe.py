"""`linear_probe`: a new linear head on frozen features."""

from app.methods.linear_probe import LinearProbe
from worker.engine import data, device, evaluate, features
from worker.engine.data import Images, Prepare
from worker.engine.features import Features
from worker.engine.run import Run
from worker.methods import supervised, transferred
from worker.methods.supervised import Examples
from worker.methods.task import Adapted, Task
from worker.methods.transferred import Start
from worker.networks import anatomy


def linear_probe(task: Task, params: LinearProbe) -> Adapted:
    """Alain & Bengio 2017.  Features are computed once, unless augmentation makes every epoch see other pixels."""
    begun = transferred.start(task, params.input)
    heads = list(begun.anatomy.heads)
    seen = supervised.examples(task.run, task.target, params, begun.input, begun.classes)
    params = params.resolve(len(seen.train), begun.input.size)
    begun.network.eval()
    if params.augmentation or not begun.anatomy.separable:
        supervised.learn(task.run, begun.network, params, seen, begun.input, trainable=lambda epoch: heads)
    else:
        _on_features(task.run, begun, params, seen)
    transfer = begun.report | {"trainable": heads}
    return Adapted(begun.network, begun.anatomy, begun.spec, begun.input, begun.classes, params, seen.use, transfer)


def _on_features(run: Run, begun: Start, params: LinearProbe, seen: Examples) -> None:
    train, validation = (_features(run, begun, images) for images in (seen.train, seen.validation))
    head = begun.network.get_submodule(begun.anatomy.head)
    batches = data.row_batches(run, train.x_ND, train.label_N, batch_size=supervised.closed(params.batch_size))
    validate_on = (lambda: features.batches(validation)) if len(validation) else None
    supervised.fit_classifier(run, head, params, batches, validate_on)


def _features(run: Run, begun: Start, images: Images) -> Features:
    prepare = Prepare(begun.input, run.device, device.memory_format(begun.network))
    batches = evaluate.image_batches(run, images.to(run.device), prepare)
    return features.compute(lambda x_BCHW: anatomy.features(begun.network, begun.anatomy, x_BCHW), batches)
