"""Images without a codec: one file of raw pixels, memory-mapped, and an index of where each image lies."""

import os
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from app.contract.datasets import Split as Split
from app.contract.inputs import InputSpec
from app.imaging import images
from app.imaging.images import Pixels

Rows = NDArray[np.int64]

SPLITS: tuple[Split, ...] = get_args(Split)
NAMES = "names"  # of the images' files in an index: UTF-8, a zero byte between two
CHUNK = 256  # images that a thread fits at a time


class PackedImages:
    """uint8 images of any sizes, grey or colour, with a label and a split each.

    `label` int64 [N] (−1: none), `split` uint8 [N] (its place in `SPLITS`), `shape` int32 [N,3] (height, width,
    channels).  Where images may have several labels, `target` uint8 [N,K] has a 1 for each, and `label` is the rarest
    of an image's classes in the dataset: that by which it is counted where each counts once.
    """

    def __init__(
        self,
        pixels: Pixels,
        offset: Rows,
        shape: NDArray[np.int32],
        label: Rows,
        split: NDArray[np.uint8],
        target: NDArray[np.uint8] | None = None,
    ) -> None:
        self.label, self.split, self.shape, self.target = label, split, shape, target
        self._pixels, self._offset = pixels, offset
        self._frames = _frames(pixels, offset, shape)

    @classmethod
    def open(cls, pixels: Path, index: Path) -> Self:
        with np.load(index, allow_pickle=False) as arrays:
            mapped = np.asarray(np.memmap(pixels, np.uint8, "r"))
            return cls(mapped, **{name: arrays[name] for name in arrays.files if name != NAMES})

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, row: int) -> Pixels:
        """uint8 [H,W,C], as stored; not to be written to."""
        height, width, channels = self.shape[row].tolist()
        start = int(self._offset[row])
        return self._pixels[start : start + height * width * channels].reshape(height, width, channels)

    @property
    def median_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) that suit all of them: median sides, and colour if any has it."""
        height, width = np.median(self.shape[:, :2], axis=0).astype(int).tolist()
        return height, width, int(self.shape[:, 2].max())

    def rows(self, split: Split) -> Rows:
        """The images of a split, ascending."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def relabel(self, index: Path, label: Rows, target: NDArray[np.uint8] | None, names: Sequence[str] | None) -> None:
        """Write an index of the same pixels in the same order and splits, with other labels."""
        _save(index, self._offset, self.shape, label, self.split, target, names)

    def fitted(self, rows: Rows, spec: InputSpec, into: Pixels | None = None) -> Pixels:
        """uint8 [N,H,W,C], contiguous: each of `rows` as `images.fit` gives it; written `into`, if that is given."""
        fitted = np.empty((len(rows), *spec.shape), np.uint8) if into is None else into
        frames = self._frames
        as_stored = frames is not None and frames.shape[1:] == fitted.shape[1:] and not spec.margin

        def fit(start: int) -> None:
            if frames is not None and as_stored:
                at = self._offset[rows[start : start + CHUNK]] // frames[0].size
                fitted[start : start + CHUNK] = frames[at]
                return
            for place, row in enumerate(rows[start : start + CHUNK].tolist(), start):
                fitted[place] = images.fit(self[row], spec)

        with ThreadPoolExecutor(os.cpu_count(), "fit") as pool:
            list(pool.map(fit, range(0, len(rows), CHUNK)))
        return fitted


class PackedWriter:
    """Streams images to the file `pixels`; which of them count, and as what, is said at the end."""

    def __init__(self, pixels: Path) -> None:
        self._file = pixels.open("wb")
        self._shape = array("i")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._shape) // 3

    def add(self, image_HWC: Pixels) -> None:
        self.extend(image_HWC[None])

    def extend(self, images_NHWC: Pixels) -> None:
        self._file.write(np.ascontiguousarray(images_NHWC).data)
        self._shape.extend(images_NHWC.shape[1:] * len(images_NHWC))

    def finish(
        self,
        index: Path,
        rows: Rows,
        label: Rows,
        split: NDArray[np.uint8],
        target: NDArray[np.uint8] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """Write the index: the images added as number `rows`, in this order, with their labels and splits; `names` are
        those of their files, where they came in any."""
        self._file.close()
        shape = np.array(self._shape, np.int32).reshape(-1, 3)
        end = shape.prod(axis=1, dtype=np.int64).cumsum()
        offset = np.concatenate(([0], end[:-1]))
        _save(index, offset[rows], shape[rows], label, split, target, names)


def names(index: Path) -> list[str] | None:
    """The names of the images' files, in their order; None where they came in none, or in a version that kept none."""
    with np.load(index, allow_pickle=False) as arrays:
        return arrays[NAMES].tobytes().decode().split("\0") if NAMES in arrays.files else None


def _save(
    index: Path,
    offset: Rows,
    shape: NDArray[np.int32],
    label: Rows,
    split: NDArray[np.uint8],
    target: NDArray[np.uint8] | None,
    names: Sequence[str] | None,
) -> None:
    arrays: dict[str, NDArray[Any]] = {"offset": offset, "shape": shape, "label": label, "split": split}
    if target is not None:
        arrays["target"] = target
    if names is not None:
        arrays[NAMES] = np.frombuffer("\0".join(names).encode(), np.uint8)
    np.savez(index, allow_pickle=False, **arrays)


def _frames(pixels: Pixels, offset: Rows, shape: NDArray[np.int32]) -> Pixels | None:
    """All pixels as [N,H,W,C], if the file holds images of one shape only."""
    size = int(shape[0].prod())
    if (shape != shape[0]).any() or (offset % size).any() or len(pixels) % size:
        return None
    return pixels.reshape(-1, *shape[0])
