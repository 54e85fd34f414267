"""Sources and targets of `defaults.py`: real images, at most 2,000 a target, and networks that know something.

A target has of each class up to `POOL` images that labels are drawn from, four in five to learn and the rest to select
by; all others, up to 2,000 in all, are its test split.
"""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.imaging.packed import SPLITS, PackedWriter
from contest import data, plan
from contest.data import Packed
from worker.networks import build

POOL, MOST = 100, 2000
TRAIN, VALIDATION, TEST = (SPLITS.index(split) for split in ("train", "validation", "test"))
# Ten of CIFAR-100's classes, of ten of its superclasses.
TEN = ("apple", "bed", "bottle", "bridge", "camel", "crab", "oak_tree", "orchid", "otter", "tractor")


@dataclass(frozen=True)
class Places:
    """Where the data are: `pacs` has a folder a domain, `cifar10` and `cifar100` folders `train` and `test` of classes,
    `fashion` has Fashion-MNIST's four files, `lite0` and `resnet20` are files of weights; `work` keeps what is made of
    them."""

    work: Path
    pacs: Path
    cifar10: Path
    cifar100: Path
    fashion: Path
    lite0: Path
    resnet20: Path


def add_places(parser: argparse.ArgumentParser, work: Path) -> None:
    """An option for each place; `work` unless told otherwise."""
    for field in fields(Places):
        known = {"work": work, "fashion": data.FASHION}.get(field.name)
        parser.add_argument(f"--{field.name}", type=Path, required=known is None, default=known)


def places_of(options: argparse.Namespace) -> Places:
    return Places(**{field.name: getattr(options, field.name) for field in fields(Places)})


@dataclass(frozen=True)
class Pictures:
    """`images` uint8 [N,H,W,C], `label` [N] as places in `classes`."""

    images: NDArray[np.uint8]
    label: NDArray[np.int64]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """`source` is the name of a network in `SOURCES`, `target` makes the images; `side`: at which the network sees
    them."""

    source: str
    target: Callable[[Places], Pictures]
    side: int


def domain(name: str, side: int) -> Callable[[Places], Pictures]:
    """A domain of PACS (Li et al. 2017), stored at `side`."""
    return lambda places: folders(places.pacs / name, side)


def cifar100(places: Places) -> Pictures:
    return folders(places.cifar100 / "train", 32, TEN)


def optdigits(places: Places) -> Pictures:
    return _grey(data.optdigits())


def garments(places: Places) -> Pictures:
    return _grey(data.garments(range(10), 200, folder=places.fashion))


def late_garments(places: Places) -> Pictures:
    return _grey(data.garments(range(5, 10), 400, folder=places.fashion))


PAIRS = {  # what costs least comes first
    "digits → optdigits": Pair("digits", optdigits, 16),
    "garments → garments": Pair("early_garments", late_garments, 16),
    "digits → garments": Pair("digits", garments, 16),
    "cnn3 → cifar100": Pair("cnn3", cifar100, 32),
    "cnn3 → art": Pair("cnn3", domain("art_painting", 32), 32),
    "resnet20 → cifar100": Pair("resnet20", cifar100, 32),
    "resnet20 → photo": Pair("resnet20", domain("photo", 32), 32),
    "resnet20 → cartoon": Pair("resnet20", domain("cartoon", 32), 32),
    "resnet20 → garments": Pair("resnet20", garments, 32),
    "lite0 → photo": Pair("lite0", domain("photo", 64), 64),
    "lite0 → art": Pair("lite0", domain("art_painting", 64), 64),
    "lite0 → sketch": Pair("lite0", domain("sketch", 64), 64),
    "lite0 → cartoon": Pair("lite0", domain("cartoon", 128), 128),
}


def packed(pair: str, places: Places) -> Packed:
    """The target of a pair, written to the work folder once."""
    place = places.work / "targets" / pair.replace(" ", "")
    if not place.exists():
        pictures = PAIRS[pair].target(places)
        places_of = split(pictures.label)
        kept = places_of >= 0
        chosen = Pictures(pictures.images[kept], pictures.label[kept], pictures.classes)
        _write(place, chosen, places_of[kept].astype(np.uint8))
    return Packed(json.loads((place / "about.json").read_text()), place / "pixels", place / "index.npz")


def tuning(pair: str, places: Places, labels: int, seed: int) -> Packed:
    """The pool alone: `labels` images of each class to learn from, as many to select by where there are enough, and
    the rest to judge by."""
    place = places.work / "targets" / f"{pair.replace(' ', '')}-tuning-{labels}-{seed}"
    if not place.exists():
        whole = packed(pair, places)
        pictures, split = _read(whole)
        pool = np.flatnonzero(split != TEST)
        label = pictures.label[pool]
        part = np.full(len(pool), TEST, np.uint8)
        random = np.random.default_rng(seed)
        for k in range(len(pictures.classes)):
            drawn = random.permutation(np.flatnonzero(label == k))
            learn = min(labels, 3 * len(drawn) // 5)
            select = min(learn, max(2, (len(drawn) - learn) // 3))
            part[drawn[:learn]], part[drawn[learn : learn + select]] = TRAIN, VALIDATION
        _write(place, Pictures(pictures.images[pool], label, pictures.classes), part)
    return Packed(json.loads((place / "about.json").read_text()), place / "pixels", place / "index.npz")


def split(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places [N] in `SPLITS`; −1: left out."""
    random = np.random.default_rng(0)
    found = np.full(len(label), -1)
    for k in np.unique(label):
        drawn = random.permutation(np.flatnonzero(label == k))[:POOL]
        found[drawn] = TRAIN
        found[drawn[: len(drawn) // 5]] = VALIDATION
    rest = random.permutation(np.flatnonzero(found < 0))
    found[rest[: MOST - int((found >= 0).sum())]] = TEST
    return found


def _read(packed: Packed) -> tuple[Pictures, NDArray[np.uint8]]:
    shape = packed.document["image"]
    index = np.load(packed.index)
    pixels = np.fromfile(packed.pixels, np.uint8)
    images = pixels.reshape(-1, shape["height"], shape["width"], shape["channels"])
    return Pictures(images, index["label"], tuple(packed.document["classes"])), index["split"]


def _write(place: Path, pictures: Pictures, split: NDArray[np.uint8]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=place.parent))
    with PackedWriter(draft / "pixels") as writer:
        writer.extend(pictures.images)
        writer.finish(draft / "index.npz", np.arange(len(pictures.label)), pictures.label, split)
    (draft / "about.json").write_text(json.dumps(_document(pictures, split)))
    with contextlib.suppress(OSError):  # another process was first, with the same bytes
        draft.rename(place)


def _document(pictures: Pictures, split: NDArray[np.uint8]) -> dict[str, Any]:
    learnt = pictures.images[split == TRAIN] / 255
    height, width, channels = pictures.images.shape[1:]
    return {
        "format": "npz",
        "labelled": True,
        "classes": list(pictures.classes),
        "image": {"height": height, "width": width, "channels": channels},
        "splits": {name: int((split == place).sum()) for place, name in enumerate(SPLITS)},
        "counts": None,
        "mean": learnt.mean((0, 1, 2)).tolist(),
        "std": learnt.std((0, 1, 2)).tolist(),
        "sha256": "0" * 64,
    }


def folders(root: Path, side: int, classes: tuple[str, ...] | None = None, per_class: int = MOST) -> Pictures:
    """Images in a folder a class, at `side`×`side`."""
    names = classes or tuple(sorted(folder.name for folder in root.iterdir()))
    files = [(file, k) for k, name in enumerate(names) for file in sorted((root / name).iterdir())[:per_class]]
    images = np.stack([_picture(file, side) for file, _ in files])
    return Pictures(images, np.array([k for _, k in files], np.int64), names)


def _picture(file: Path, side: int) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def _grey(labelled: data.Labelled) -> Pictures:
    return Pictures(labelled.images[..., None], labelled.label, labelled.classes)


@dataclass(frozen=True)
class Weights:
    """A network with its weights, and the names of its classes, as a checkpoint has them."""

    spec: NetworkSpec
    input: InputSpec
    classes: list[str]
    tensors: dict[str, torch.Tensor]


def lite0(places: Places, side: int) -> Weights:
    return efficientnet_lite(NetworkSpec(name="timm/tf_efficientnet_lite0", num_classes=1000), places.lite0, side)


def efficientnet_lite(spec: NetworkSpec, file: Path, side: int) -> Weights:
    """An EfficientNet-Lite of ImageNet: the file's tensors are timm's under other names, in the same order."""
    usual = build.usual_input(spec)
    assert usual is not None
    input = usual.model_copy(update={"size": (side, side)})
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = build.shell(spec, input).state_dict()
    numbers = [tensor for name, tensor in theirs.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in ours if not name.endswith("num_batches_tracked")]
    tensors = dict(zip(names, numbers, strict=True))
    assert all(tensor.shape == ours[name].shape for name, tensor in tensors.items())
    counts = {name: torch.tensor(0) for name in ours if name not in tensors}
    return Weights(spec, input, [f"imagenet {k}" for k in range(1000)], tensors | counts)


def resnet20(places: Places, side: int) -> Weights:
    """The CIFAR-10 network of akamaster/pytorch_resnet_cifar10."""
    spec = NetworkSpec(name="cifar_resnet", num_classes=10, options={"depth": 20})
    usual = build.usual_input(spec)
    assert usual is not None
    file = torch.load(places.resnet20, map_location="cpu", weights_only=True)["state_dict"]
    tensors = {name.removeprefix("module."): tensor for name, tensor in file.items()}
    classes = sorted(folder.name for folder in (places.cifar10 / "train").iterdir())
    return Weights(spec, usual.model_copy(update={"size": (side, side)}), classes, tensors)


PUBLISHED = {"lite0": lite0, "resnet20": resnet20}


@dataclass(frozen=True)
class Schooling:
    """How a source that nobody published is trained: a `train` job on `images`."""

    method: dict[str, Any]
    images: Callable[[Places], Pictures]


def _cifar10_for_cnn3(places: Places) -> Pictures:
    return folders(places.cifar10 / "train", 32, per_class=300)


TRAINED = {
    "cnn3": Schooling(
        {"name": "train", "network": {"name": "cnn3", "num_classes": 10}, "epochs": 15}, _cifar10_for_cnn3
    ),
    "digits": Schooling(
        {"name": "train", "network": plan.large(10), "input": plan.MNIST_INPUT, "epochs": 10},
        lambda places: _grey(data.mnist()),
    ),
    "early_garments": Schooling(
        {"name": "train", "network": plan.large(5), "input": plan.GARMENT_INPUT, "epochs": 10},
        lambda places: _grey(data.garments(range(5), 1000, folder=places.fashion)),
    ),
}


def schoolbook(source: str, places: Places) -> Packed:
    """The images that a source of `TRAINED` learns from: every tenth is there to select by."""
    place = places.work / "targets" / f"school-{source}"
    if not place.exists():
        pictures = TRAINED[source].images(places)
        split = np.full(len(pictures.label), TRAIN, np.uint8)
        split[np.random.default_rng(0).permutation(len(split))[: len(split) // 10]] = VALIDATION
        _write(place, pictures, split)
    return Packed(json.loads((place / "about.json").read_text()), place / "pixels", place / "index.npz")


def write(weights: Weights, path: Path) -> None:
    """The weights, and beside them what they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "network": weights.spec.model_dump(mode="json"),
        "input": weights.input.model_dump(mode="json"),
        "classes": weights.classes,
    }
    path.with_suffix(".json").write_text(json.dumps(about))
    save_file({name: tensor.contiguous() for name, tensor in weights.tensors.items()}, path)
