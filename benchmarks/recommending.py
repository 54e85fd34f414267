"""What a recommendation costs beside the job that it spares: seconds of one processor, since others use the machine.

ResNet-18 sees CIFAR-10's test images at 64×64.  A recommendation is the worker's own task, its networks drawn at
random, each other than the last: what they say costs the same.  Of the job only a part is run: one epoch at the batch
size and rate that its defaults have at `LEARNT` images, over 640 and over 1,280 of them; the difference is what 640
more cost, and that counts for all images of all epochs.  The head's start, validation and evaluation are not in it.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import default_pairs as pairs
import defaults
from app.contract import blobs
from app.contract.blobs import Input
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recommendation import Evidence, RecommendationSpec
from app.contract.specs import DatasetSpec, SourceSpec
from app.methods.registry import parse
from contest.data import Packed
from default_pairs import Pictures, Weights
from worker.methods.task import Source
from worker.networks import build
from worker.runs import recommend
from worker.runtime import device
from worker.runtime.contract import Spec
from worker.runtime.recorder import Recorder

LEARNT, LOOKED_AT, PARTS = 10_000, 1000, (640, 1280)
HALF = (0.5, 0.5, 0.5)
RESNET18 = NetworkSpec(name="torchvision/resnet18", num_classes=10)
INPUT = InputSpec(size=(64, 64), channels=3, mean=HALF, std=HALF)


class Costs(NamedTuple):
    """Processor's seconds: of recommendations for all networks, at first, of the same question again, and where only
    features are kept; and of the job."""

    cold: float
    again: float
    of_features: float
    job: float


def costs(cifar10: Path, work: Path, networks: int) -> Costs:
    """Measure all of them; `work` is emptied of nothing, so it should be new."""
    images = pairs.folders(cifar10 / "test", 32, per_class=PARTS[1] // 10)
    target = _packed(work / "target", images, LOOKED_AT)
    made = {f"ckpt_{k}": _weights(work, k, list(images.classes)) for k in range(networks)}
    cold, found = _recommended(target, made, work)
    again, _ = _recommended(target, made, work, found)
    of_features, _ = _recommended(target, made, work)
    return Costs(cold, again, of_features, _job(images, made["ckpt_0"], work))


def _recommended(
    target: Packed, networks: dict[str, Path], work: Path, known: Sequence[Evidence] = ()
) -> tuple[float, list[Evidence]]:
    """Seconds, and the evidence; `known` is what the service tells of an earlier answer."""
    candidate = SourceSpec(network=RESNET18, input=INPUT, classes=list(target.document["classes"]))
    order = RecommendationSpec(
        images=LOOKED_AT,
        seed=0,
        known=list(known),
        candidates=dict.fromkeys(networks, candidate),
        target=DatasetSpec.load(target.document),
    )
    inputs = {str(Input.TARGET_PIXELS): target.pixels, str(Input.TARGET_INDEX): target.index}
    inputs |= {str(blobs.teacher_weights(id_)): path for id_, path in networks.items()}
    with tempfile.TemporaryDirectory(dir=work) as place, device.reproducible(torch.device("cpu"), 0, threads=1):
        spec = Spec(
            kind="recommend",
            subject="rec_cost",
            payload=order,
            inputs=inputs,
            workdir=Path(place),
            cache=work / "cache",
        )
        began = time.process_time()
        found = recommend.run(spec, Recorder()).outcome.evidence
        assert not any(one.failure for one in found), found
        return time.process_time() - began, found


def _job(images: Pictures, weights: Path, work: Path) -> float:
    resolved = parse({"name": "fine_tune"}).resolve(LEARNT, INPUT.size).model_dump(mode="json")
    part = {"name": "fine_tune", "epochs": 1, "head_start": "none"}
    part |= {name: resolved[name] for name in ("batch_size", "learning_rate", "optimizer")}
    source = Source(RESNET18, INPUT, None, None, weights)
    taken = []
    for count in PARTS:
        began = time.process_time()
        defaults._run(parse(part), 0, _packed(work / f"part-{count}", images, count), source)
        taken.append(time.process_time() - began)
    return float((taken[1] - taken[0]) / (PARTS[1] - PARTS[0]) * LEARNT * resolved["epochs"])


def _packed(place: Path, images: Pictures, count: int) -> Packed:
    """The first `count` images in a fixed random order, all of the training split."""
    chosen = np.random.default_rng(0).permutation(len(images.label))[:count]
    pictures = Pictures(images.images[chosen], images.label[chosen], images.classes)
    pairs._write(place, pictures, np.full(count, pairs.TRAIN, np.uint8))
    return Packed(json.loads((place / "about.json").read_text()), place / "pixels", place / "index.npz")


def _weights(work: Path, seed: int, classes: list[str]) -> Path:
    path = work / f"{seed}.safetensors"
    torch.manual_seed(seed)
    pairs.write(Weights(RESNET18, INPUT, classes, dict(build.build(RESNET18, INPUT).state_dict())), path)
    return path
