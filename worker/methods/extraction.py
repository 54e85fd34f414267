"""Features of a job's images, one row an image, as a frozen backbone gives them."""

import torch
from torch import Tensor

from worker.data.batches import Images, Prepare
from worker.data.feature_cache import cached, layers
from worker.methods.supervision import Examples, Whole
from worker.methods.task import Task
from worker.networks import load
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.runtime.run import Run
from worker.training import evaluate
from worker.training import features as engine
from worker.training.features import Features

SHARE = 4  # a label budget of at least one in so many computes the whole split, which all such budgets share


def features(task: Task, learner: Classifier, examples: Examples, run: Run | None = None) -> tuple[Features, Features]:
    """Features of the training and of the validation images that a run may see; the network is in evaluation mode.

    Whether a whole split is computed depends on nothing but the two sizes, never on what the cache holds: how images
    are cut into batches may turn a last bit.
    """
    run = run or task.run
    frozen = None
    if run.cache is not None and task.source is not None:
        beneath = load.beneath(learner.structure, learner.module.state_dict())
        frozen = layers(run, task.source.network, beneath, learner.structure.heads, learner.input)

    def rows(images: Images) -> Tensor:
        x_ND = cached(run, frozen, images, lambda images: _compute(run, learner, images))
        # a copy lies in memory as what was computed does: sums can depend on that
        return x_ND.to(run.device).clone()

    def of(images: Images, whole: Whole | None) -> Features:
        label_N = images.label_N.to(run.device)
        if not len(images):
            return Features(torch.empty(0, learner.structure.features, device=run.device), label_N)
        if whole is None or not len(images) == len(whole.place_N) < whole.count <= SHARE * len(images):
            return Features(rows(images), label_N)
        return Features(rows(whole.images())[whole.place_N.to(run.device)], label_N)

    return of(examples.train, examples.whole.get("train")), of(examples.validation, examples.whole.get("validation"))


def _compute(run: Run, learner: Classifier, images: Images) -> Tensor:
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
    batches = evaluate.image_batches(run, images.to(run.device), prepare)
    return engine.compute(learner.features, batches).x_ND
