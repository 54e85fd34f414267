"""Pairs of images that look the same though their pixels differ: saved again, resized, or a little brighter.

Each image gets a difference hash of 64 bits: whether of 8×9 cells each is brighter than the one to its right.  Pairs
with at most `BITS` bits apart are candidates, found by the part of 16 bits that such pairs have in common; those of
which thumbnails correlate by `CORRELATION` look the same.  Of 5,000 digits of MNIST 1,400 have a candidate, and none
reaches 0.98; of photographs saved again as JPEG, halved or enlarged, 95 to 98 % are found.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.imaging.images import Pixels
from app.imaging.packed import PackedImages, Rows

SMALLEST = 16  # pixels a side: smaller images tell too little
MOST = 200_000  # images that are hashed
BITS, BANDS = 3, 4  # of pairs so near one of four parts of 16 bits is the same
SHARED = 64  # training images at most that have such a part in common; where more do it tells nothing
PAIRS = 20_000  # that are looked at
GRID = 128  # pixels a side that a hash is made of
THUMBNAIL = (32, 32)
CORRELATION = 0.99
FAINT = 2.0  # of 255: a thumbnail that varies by less shows nothing

Hashes = NDArray[np.uint64]
Pairs = list[tuple[int, int]]


def pairs(images: PackedImages, checkpoint_or_stop: Callable[[], None]) -> Pairs | None:
    """Rows (training image, other) for each image outside of training that looks like one within, and equals none.

    None where there are too many images, or they are too small.
    """
    rows = np.flatnonzero(images.shape[:, :2].min(axis=1) >= SMALLEST)
    if not len(rows) or len(rows) > MOST:
        return None
    hash_N = _hashes(images, rows, checkpoint_or_stop)
    training = images.split[rows] == 0
    found: dict[int, int] = {}
    for train, other in _candidates(hash_N, np.flatnonzero(training), np.flatnonzero(~training)):
        checkpoint_or_stop()
        one, two = int(rows[train]), int(rows[other])
        if two not in found and _alike(images[one], images[two]):
            found[two] = one
    return [(one, two) for two, one in sorted(found.items())]


def _hashes(images: PackedImages, rows: Rows, checkpoint_or_stop: Callable[[], None]) -> Hashes:
    hash_N = np.empty(len(rows), np.uint64)
    for place, row in enumerate(rows.tolist()):
        checkpoint_or_stop()
        hash_N[place] = _hash(images[row])
    return hash_N


def _hash(image: Pixels) -> np.uint64:
    """Compare cells of the middle channel, every nth row and column of it."""
    down, across = (max(1, side // GRID) for side in image.shape[:2])
    green = Image.fromarray(np.ascontiguousarray(image[::down, ::across, image.shape[2] // 2]))
    cells = np.asarray(green.resize((9, 8), Image.Resampling.BOX))
    return np.uint64(int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), "little"))


def _candidates(hash_N: Hashes, training: Rows, others: Rows) -> Iterator[tuple[int, int]]:
    """Places of pairs with hashes at most `BITS` apart, the nearest first."""
    firsts, seconds = [], []
    for band in range(BANDS):
        part_N = hash_N.view(np.uint16).reshape(-1, BANDS)[:, band]
        sorted_T = training[np.argsort(part_N[training], kind="stable")]
        start, end = (np.searchsorted(part_N[sorted_T], part_N[others], side) for side in ("left", "right"))
        count = np.where(end - start <= SHARED, end - start, 0)
        second = np.repeat(others, count)
        first = sorted_T[np.repeat(start - np.r_[0, count.cumsum()[:-1]], count) + np.arange(count.sum())]
        near = np.bitwise_count(hash_N[first] ^ hash_N[second]) <= BITS
        firsts.append(first[near])
        seconds.append(second[near])
    both = np.unique(np.stack([np.concatenate(firsts), np.concatenate(seconds)], axis=1), axis=0)
    apart = np.bitwise_count(hash_N[both[:, 0]] ^ hash_N[both[:, 1]])
    for first, second in both[np.argsort(apart, kind="stable")][:PAIRS].tolist():
        yield first, second


def _alike(one: Pixels, other: Pixels) -> bool:
    """Tell whether thumbnails correlate, and the pixels differ."""
    if np.array_equal(one, other):
        return False
    first, second = (values - values.mean() for values in map(_thumbnail, (one, other)))
    spread = first.std() * second.std()
    return min(first.std(), second.std()) >= FAINT and bool((first * second).mean() >= CORRELATION * spread)


def _thumbnail(image: Pixels) -> NDArray[np.float64]:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L")
    return np.asarray(picture.resize(THUMBNAIL, Image.Resampling.BOX), np.float64).ravel()
