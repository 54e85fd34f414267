"""What a frozen backbone makes of a job's images: from the cache where somebody has asked before."""

import hashlib
import json
from importlib.metadata import version

import torch
from torch import Tensor

from app.imaging.packed import Split
from app.methods.layers import with_classes
from worker.engine import device, digest, evaluate
from worker.engine import features as engine
from worker.engine.data import Images, Prepare
from worker.engine.features import Features
from worker.engine.run import Run
from worker.methods.supervised import Examples
from worker.methods.task import Task
from worker.networks import anatomy, load
from worker.terms.base import Frame

VERSION = 1  # to be raised when the same images, weights and libraries come to other features
SHARE = 4  # a label budget of at least one in so many computes the whole split, which all such budgets share
LIBRARIES = ("torch", "torchvision", "timm")


def features(task: Task, learner: Frame, seen: Examples, split: Split, run: Run | None = None) -> Features:
    """Of the training or validation images that a run may see; the network is in evaluation mode.

    Whether the whole split is computed depends on nothing but the two sizes, never on what the cache holds: how images
    are cut into batches may turn a last bit.
    """
    run = run or task.run
    images = seen.train if split == "train" else seen.validation
    label_N, whole = images.label_N.to(run.device), seen.whole.get(split)
    if whole is None or not len(images) == len(whole.place_N) < whole.count <= SHARE * len(images):
        return Features(_once(run, task, learner, images), label_N)
    return Features(_once(run, task, learner, whole.images())[whole.place_N.to(run.device)], label_N)


def _once(run: Run, task: Task, learner: Frame, images: Images) -> Tensor:
    if not len(images):
        return torch.empty(0, learner.anatomy.features, device=run.device)
    if run.cache is None or task.source is None:
        return _compute(run, learner, images)
    key = _key(run, task, learner, images)
    kept = run.cache.get(key)
    if kept is not None:
        # a copy lies in memory as what was computed does: sums can depend on that
        return kept["x_ND"].to(run.device).clone()
    x_ND = _compute(run, learner, images)
    run.cache.put(key, {"x_ND": x_ND.cpu().contiguous()})
    return x_ND


def _compute(run: Run, learner: Frame, images: Images) -> Tensor:
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.network))
    batches = evaluate.image_batches(run, images.to(run.device), prepare)
    return engine.compute(lambda x_BCHW: anatomy.features(learner.network, learner.anatomy, x_BCHW), batches).x_ND


def _key(run: Run, task: Task, learner: Frame, images: Images) -> str:
    """Of everything that the features depend on, by its content: equal keys, equal bits."""
    pixels_NHWC = images.pixels_NHWC
    document = {
        "version": VERSION,
        "libraries": [version(library) for library in LIBRARIES],
        "computed_on": _machine(run.device),
        "network": with_classes(task.known_source.network, 1).model_dump(mode="json"),
        "weights": digest.sha256(load.beneath(learner.anatomy, learner.network.state_dict())),
        "layer": learner.anatomy.heads,
        "input": [learner.input.mean, learner.input.std],
        "pixels": [list(pixels_NHWC.shape), hashlib.sha256(pixels_NHWC.contiguous().numpy().data).hexdigest()],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _machine(on: torch.device) -> list[str | int]:
    if on.type == "cuda":
        return [torch.cuda.get_device_name(on)]
    return [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
