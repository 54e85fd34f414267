"""Thumbnails of stored images, with their labels."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.imaging.packed import PackedImages, Split

SIDE = 96


@dataclass(frozen=True)
class Sample:
    """`row` is its place in the packed store; `image` a PNG as a data URI."""

    row: int
    label: int | None
    image: str


def page(
    pixels: Path, index: Path, *, split: Split, label: int | None, after: int | None, limit: int
) -> Iterator[Sample]:
    """Up to `limit` images of `split` beyond the row `after`, of one class only where `label` is given."""
    images = PackedImages.open(pixels, index)
    rows = images.rows(split)
    if label is not None:
        rows = rows[images.label[rows] == label]
    if after is not None:
        rows = rows[rows > after]
    for row in rows[:limit].tolist():
        own = int(images.label[row])
        yield Sample(row, None if own < 0 else own, data_uri(images[row]))


def data_uri(image_HWC: NDArray[np.uint8]) -> str:
    """A PNG of at most `SIDE` pixels a side, as small as it is where it is smaller."""
    picture = Image.fromarray(image_HWC.squeeze(-1) if image_HWC.shape[-1] == 1 else image_HWC)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
