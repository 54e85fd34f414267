"""Outputs of frozen layers for images: computed once, and taken from the cache where somebody has asked before."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import torch
from torch import Tensor

from app.contract.inputs import InputSpec
from app.contract.layers import with_classes
from app.contract.networks import NetworkSpec
from worker.data.batches import Images
from worker.runtime import digest
from worker.runtime.rehearsal import IMAGES, Rehearsal
from worker.runtime.run import Run

Document = dict[str, object]

VERSION = 2  # to be raised when the same images, weights and libraries come to other tensors
LIBRARIES = ("torch", "torchvision", "timm")


def layers(run: Run, network: NetworkSpec, weights: Mapping[str, Tensor], layer: object, input: InputSpec) -> Document:
    """Frozen layers by their content: those with `weights`, up to `layer`, on images of that contract."""
    return {
        "version": VERSION,
        "libraries": [version(library) for library in LIBRARIES],
        "computed_on": _machine(run.device),
        "network": with_classes(network, 1).model_dump(mode="json"),
        "weights": digest.sha256(weights),
        "layer": layer,
        "input": [input.mean, input.std],
    }


def cached(run: Run, layers: Document | None, images: Images, compute: Callable[[Images], Tensor]) -> Tensor:
    """`compute(images)`, [N,…], kept under what it depends on; without `layers` nobody else will ask.

    What comes from the cache is on the CPU, memory-mapped.  In a rehearsal that of the first images stands for all.
    """
    if run.rehearsal is not None and len(images) > IMAGES:
        return _of_some(run.rehearsal, images, compute)
    if run.cache is None or layers is None:
        return compute(images)
    key = _key(layers, images)
    kept = run.cache.get(key)
    if kept is not None:
        return kept["x"]
    x = compute(images)
    run.cache.put(key, {"x": x.cpu().contiguous()})
    return x


def _of_some(rehearsal: Rehearsal, images: Images, compute: Callable[[Images], Tensor]) -> Tensor:
    began_at = time.monotonic()
    x = compute(Images(images.pixels_NHWC[:IMAGES], images.label_N[:IMAGES]))
    rehearsal.passed(IMAGES, len(images), began_at)
    return x[torch.arange(len(images), device=x.device) % IMAGES]


def _key(layers: Document, images: Images) -> str:
    """The key of everything that the result depends on, by its content: equal keys, equal bits."""
    pixels_NHWC = images.pixels_NHWC
    sha256 = hashlib.sha256(pixels_NHWC.cpu().contiguous().numpy().data).hexdigest()
    document = layers | {"pixels": [list(pixels_NHWC.shape), sha256]}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _machine(on: torch.device) -> list[str | int]:
    if on.type == "cuda":
        return [torch.cuda.get_device_name(on)]
    return [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
