"""What a frozen backbone makes of a job's images: from the cache where somebody has asked before."""

import hashlib
import json
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from app.methods.layers import with_classes
from worker.engine import device, digest, evaluate
from worker.engine import features as engine
from worker.engine.data import Images, Prepare
from worker.engine.features import Features
from worker.engine.run import Run
from worker.methods.supervised import Examples, Whole
from worker.methods.task import Source, Task
from worker.networks import anatomy, load
from worker.terms.base import Frame

Document = dict[str, Any]

VERSION = 1  # to be raised when the same images, weights and libraries come to other features
SHARE = 4  # a label budget of at least one in so many computes the whole split, which all such budgets share
LIBRARIES = ("torch", "torchvision", "timm")


def features(task: Task, learner: Frame, seen: Examples, run: Run | None = None) -> tuple[Features, Features]:
    """Of the training and of the validation images that a run may see; the network is in evaluation mode.

    Whether a whole split is computed depends on nothing but the two sizes, never on what the cache holds: how images
    are cut into batches may turn a last bit.
    """
    run = run or task.run
    backbone = None if run.cache is None or task.source is None else _backbone(run, task.source, learner)
    train = _of(run, learner, backbone, seen.train, seen.whole.get("train"))
    return train, _of(run, learner, backbone, seen.validation, seen.whole.get("validation"))


def _of(run: Run, learner: Frame, backbone: Document | None, images: Images, whole: Whole | None) -> Features:
    label_N = images.label_N.to(run.device)
    if whole is None or not len(images) == len(whole.place_N) < whole.count <= SHARE * len(images):
        return Features(_once(run, learner, backbone, images), label_N)
    return Features(_once(run, learner, backbone, whole.images())[whole.place_N.to(run.device)], label_N)


def _once(run: Run, learner: Frame, backbone: Document | None, images: Images) -> Tensor:
    if not len(images):
        return torch.empty(0, learner.anatomy.features, device=run.device)
    if run.cache is None or backbone is None:
        return _compute(run, learner, images)
    key = _key(backbone, images)
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


def _key(backbone: Document, images: Images) -> str:
    """Of everything that the features depend on, by its content: equal keys, equal bits."""
    pixels_NHWC = images.pixels_NHWC
    sha256 = hashlib.sha256(pixels_NHWC.contiguous().numpy().data).hexdigest()
    document = backbone | {"pixels": [list(pixels_NHWC.shape), sha256]}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _backbone(run: Run, source: Source, learner: Frame) -> Document:
    return {
        "version": VERSION,
        "libraries": [version(library) for library in LIBRARIES],
        "computed_on": _machine(run.device),
        "network": with_classes(source.network, 1).model_dump(mode="json"),
        "weights": digest.sha256(load.beneath(learner.anatomy, learner.network.state_dict())),
        "layer": learner.anatomy.heads,
        "input": [learner.input.mean, learner.input.std],
    }


def _machine(on: torch.device) -> list[str | int]:
    if on.type == "cuda":
        return [torch.cuda.get_device_name(on)]
    return [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
