"""Pictures that a dataset has more than once: pixel for pixel, or so that they look the same."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.contract.datasets import DuplicatePair, Duplicates
from app.imaging.packed import SPLITS, PackedImages
from worker.ingest import near

EXAMPLES = 10  # that are named
NAME_CHARS = 256
MIDDLE_BYTES = 4096  # that are compared first


def find(images: PackedImages, names: Sequence[str] | None, checkpoint_or_stop: Callable[[], None]) -> Duplicates:
    """Compare the stored pixels.

    `exact` counts the images that equal an earlier one, `across` those validation and test images that equal a training
    image, `near` those others of them that look like one.  `examples` are pairs {images, splits}, those across splits
    first; an image is its file's name, or where it has none the id of its sample.
    """
    digest_N = _digests(images, checkpoint_or_stop)
    # training images first, so that each group's first is one wherever it has one
    order_N = np.lexsort((images.split, digest_N))
    sorted_N = digest_N[order_N]
    starts_N = np.r_[True, sorted_N[1:] != sorted_N[:-1]]
    first_N = order_N[np.flatnonzero(starts_N)[np.cumsum(starts_N) - 1]]
    again = ~starts_N
    across = again & (images.split[first_N] == 0) & (images.split[order_N] != 0)
    alike = near.pairs(images, checkpoint_or_stop)
    equal = set(order_N[across].tolist())
    others = [pair for pair in alike or () if pair[1] not in equal]

    def pairs(which: NDArray[np.bool_]) -> list[DuplicatePair]:
        places = np.flatnonzero(which)[:EXAMPLES]
        return [_pair(images, names, int(first_N[place]), int(order_N[place])) for place in places]

    looking = [_pair(images, names, *pair).model_copy(update={"near": True}) for pair in others[: EXAMPLES // 2]]
    shown = [*pairs(across)[: EXAMPLES - len(looking)], *looking, *pairs(again & ~across)]
    return Duplicates(
        exact=int(again.sum()),
        across=int(across.sum()),
        near=None if alike is None else len(others),
        examples=shown[:EXAMPLES],
    )


def _digests(images: PackedImages, checkpoint_or_stop: Callable[[], None]) -> NDArray[np.uint64]:
    """[N]: equal where images are, and else nowhere: of an image's middle, or of all of it where others share that."""
    digest_N = np.empty(len(images), np.uint64)

    def digest(row: int, most: int) -> None:
        checkpoint_or_stop()
        pixels = images[row].reshape(-1)
        start = max(0, (len(pixels) - most) // 2)
        key = images.shape[row].tobytes()
        hash = hashlib.blake2b(pixels[start : start + most].data, digest_size=8, key=key)
        digest_N[row] = int.from_bytes(hash.digest(), "little")

    for row in range(len(images)):
        digest(row, MIDDLE_BYTES)
    _, place_N, count = np.unique(digest_N, return_inverse=True, return_counts=True)
    for row in np.flatnonzero(count[place_N] > 1).tolist():
        digest(row, images[row].size)
    return digest_N


def _pair(images: PackedImages, names: Sequence[str] | None, *rows: int) -> DuplicatePair:
    return DuplicatePair(
        images=[f"sample_{row}" if names is None else names[row][:NAME_CHARS] for row in rows],
        splits=[SPLITS[images.split[row]] for row in rows],
    )
