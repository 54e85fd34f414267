"""Thumbnails of stored images, with their labels."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.blobs.store import Blobs
from app.core import errors
from app.db.tables import DatasetRow
from app.imaging import packed
from app.imaging.packed import PackedImages, Split

SIDE = 96


@dataclass(frozen=True)
class StoredSample:
    """`row` is its place in the packed store; `name` that of its file, where it came in one; `image` a PNG as a data
    URI; `labels` only where there may be several."""

    row: int
    name: str | None
    label: int | None
    labels: list[int] | None
    image: str


def of(
    blobs: Blobs, dataset: DatasetRow, *, split: Split, label: str | None, after: int | None, limit: int
) -> list[StoredSample]:
    """Up to `limit` images of a ready dataset beyond the row `after`, of the class `label` only where it is given.

    Raises:
        Invalid: the dataset has no such class.
        BlobLost: its images are gone or damaged.
    """
    assert dataset.pixels is not None
    assert dataset.index is not None
    classes = dataset.classes or []
    if label is not None and label not in classes:
        raise errors.Invalid(f"{dataset.id} has no class {label!r}.", param="label")
    number = None if label is None else classes.index(label)
    pixels, index = blobs.path(dataset.pixels), blobs.path(dataset.index)
    with blobs.reading(dataset.pixels, dataset.index):
        return list(page(pixels, index, split=split, label=number, after=after, limit=limit))


def at(blobs: Blobs, dataset: DatasetRow, rows: Sequence[int], side: int = SIDE) -> list[StoredSample]:
    """The images at these places of a ready dataset, without labels, of at most `side` pixels a side.

    Raises:
        BlobLost: its images are gone or damaged.
    """
    assert dataset.pixels is not None
    assert dataset.index is not None
    with blobs.reading(dataset.pixels, dataset.index):
        index = blobs.path(dataset.index)
        images, names = PackedImages.open(blobs.path(dataset.pixels), index), packed.names(index)
        return [
            StoredSample(row, None if names is None else names[row], None, None, data_uri(images[row], side))
            for row in rows
        ]


def page(
    pixels: Path, index: Path, *, split: Split, label: int | None, after: int | None, limit: int
) -> Iterator[StoredSample]:
    """Up to `limit` images of `split` beyond the row `after`, of one class only where `label` is given."""
    images, names = PackedImages.open(pixels, index), packed.names(index)
    rows = images.rows(split)
    if label is not None:
        rows = rows[images.label[rows] == label if images.target is None else images.target[rows, label] > 0]
    if after is not None:
        rows = rows[rows > after]
    for row in rows[:limit].tolist():
        own = int(images.label[row])
        labels = None if images.target is None else np.flatnonzero(images.target[row]).tolist()
        name = None if names is None else names[row]
        yield StoredSample(row, name, None if own < 0 else own, labels, data_uri(images[row]))


def data_uri(image_HWC: NDArray[np.uint8], side: int = SIDE) -> str:
    """A PNG of at most `side` pixels a side, as small as it is where it is smaller."""
    picture = Image.fromarray(image_HWC.squeeze(-1) if image_HWC.shape[-1] == 1 else image_HWC)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
