"""Figures of a packed dataset."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contract.datasets import ClassCounts, Counts, ImageShape
from app.contract.specs import Labelled
from app.imaging.images import Pixels
from app.imaging.packed import SPLITS, PackedImages, Split

CHUNK_PIXELS = 2**18  # that are looked at together
LEVELS = np.arange(256) / 255
SMALLEST_STD = 1 / 255  # of a channel that hardly changes, so that it can be divided by

Heed = Callable[[], None]


def shape(images: PackedImages) -> ImageShape | None:
    """The shape of all images, where they have one size; grey ones among colour ones count as colour."""
    if (images.shape[:, :2] != images.shape[0, :2]).any():
        return None
    height, width, channels = images.median_shape
    return ImageShape(height=height, width=width, channels=channels)


def labelled(images: PackedImages) -> Labelled:
    """Tell whether there are labels; `test`, if not where one would learn from them."""
    if images.target is not None:
        return True
    train = images.label[images.rows("train")]
    if len(train) and not (train >= 0).any() and (images.label >= 0).any():
        return "test"
    return bool((images.label >= 0).any())


def splits(images: PackedImages) -> Counts:
    train, validation, test = (len(images.rows(split)) for split in SPLITS)
    return Counts(train=train, validation=validation, test=test)


def counts(images: PackedImages, classes: Sequence[str]) -> ClassCounts:
    """Images of each class, by split; one with several labels counts for each."""
    train, validation, test = (_count(images, split, len(classes)).tolist() for split in SPLITS)
    return ClassCounts(train=train, validation=validation, test=test)


def _count(images: PackedImages, split: Split, classes: int) -> NDArray[np.int64]:
    rows = images.rows(split)
    if images.target is None:
        label_N = images.label[rows]
        return np.bincount(label_N[label_N >= 0], minlength=classes)
    count_K: NDArray[np.int64] = images.target[rows].sum(axis=0, dtype=np.int64)
    return count_K


def moments(images: PackedImages, checkpoint_or_stop: Heed) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, 0 to 1, over all pixels of the training split.

    Where that is empty, of all images.  Exact: the 256 levels are counted.  A grey one among colour ones counts as
    colour.
    """
    rows = images.rows("train")
    rows = rows if len(rows) else np.arange(len(images))
    channels = images.median_shape[2]
    count_CL = np.zeros((channels, len(LEVELS)), np.int64)
    step = max(1, CHUNK_PIXELS // int(images.shape[:, :2].prod(axis=1).max()))
    for start in range(0, len(rows), step):
        checkpoint_or_stop()
        pixels_PC = np.concatenate([_flat(images[row], channels) for row in rows[start : start + step].tolist()])
        count_CL += _histogram(pixels_PC)
    share_CL = count_CL / count_CL.sum(axis=1, keepdims=True)
    mean_C = (share_CL * LEVELS).sum(axis=1)  # no product of matrices, for which BLAS would set 32 MiB aside
    variance_C = (share_CL * (LEVELS - mean_C[:, None]) ** 2).sum(axis=1)
    return mean_C.tolist(), np.maximum(np.sqrt(variance_C), SMALLEST_STD).tolist()


def sha256(images: PackedImages, classes: Sequence[str], checkpoint_or_stop: Heed) -> str:
    """Hex SHA-256: equal datasets have equal digests, whatever archive they came in.

    Over the names of classes, each ended by a zero byte, and one more; then little-endian, in the dataset's order:
    labels (int64), splits (uint8), shapes (int32), pixels; between shapes and pixels a byte for each image and class,
    where an image may have several.
    """
    digest = hashlib.sha256("".join(f"{name}\0" for name in classes).encode() + b"\0")
    for part in (images.label.astype("<i8"), images.split, images.shape.astype("<i4")):
        digest.update(part.tobytes())
    if images.target is not None:
        digest.update(images.target.tobytes())
    for row in range(len(images)):
        checkpoint_or_stop()
        digest.update(images[row].data)
    return digest.hexdigest()


def _histogram(pixels_PC: Pixels) -> NDArray[np.int64]:
    """[C,256]: Pillow counts twice as fast as NumPy."""
    channels = pixels_PC.shape[1]
    row = Image.fromarray(pixels_PC[None] if channels == 3 else pixels_PC.T)
    return np.array(row.histogram(), np.int64).reshape(channels, len(LEVELS))


def _flat(image: Pixels, channels: int) -> Pixels:
    """[P,C]."""
    pixels = image.reshape(-1, image.shape[2])
    return np.broadcast_to(pixels, (len(pixels), channels))
