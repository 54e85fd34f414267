"""Pictures that a dataset has more than once, pixel for pixel."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from app.contract.datasets import DuplicatePair, Duplicates
from app.imaging.packed import SPLITS, PackedImages

EXAMPLES = 10  # that are named
NAME_CHARS = 256


def find(images: PackedImages, names: Sequence[str] | None, checkpoint_or_stop: Callable[[], None]) -> Duplicates:
    """Compare the stored pixels.

    `exact` counts the images that equal an earlier one, `across` those validation and test images that equal a training
    image; `near` is null: nobody looks for them.  `examples` are pairs {images, splits}, those across splits first; an
    image is its file's name, or where it has none the id of its sample.
    """
    digest_N = np.empty(len(images), np.uint64)
    for row in range(len(images)):
        checkpoint_or_stop()
        shape = images.shape[row].tobytes()
        digest_N[row] = int.from_bytes(hashlib.blake2b(images[row].data, digest_size=8, key=shape).digest(), "little")
    # training images first, so that each group's first is one wherever it has one
    order_N = np.lexsort((images.split, digest_N))
    sorted_N = digest_N[order_N]
    starts_N = np.r_[True, sorted_N[1:] != sorted_N[:-1]]
    first_N = order_N[np.flatnonzero(starts_N)[np.cumsum(starts_N) - 1]]
    again = ~starts_N
    across = again & (images.split[first_N] == 0) & (images.split[order_N] != 0)
    shown = [*np.flatnonzero(across)[:EXAMPLES], *np.flatnonzero(again & ~across)[:EXAMPLES]][:EXAMPLES]
    return Duplicates(
        exact=int(again.sum()),
        across=int(across.sum()),
        near=None,
        examples=[_pair(images, names, int(first_N[place]), int(order_N[place])) for place in shown],
    )


def _pair(images: PackedImages, names: Sequence[str] | None, *rows: int) -> DuplicatePair:
    return DuplicatePair(
        images=[f"sample_{row}" if names is None else names[row][:NAME_CHARS] for row in rows],
        splits=[SPLITS[images.split[row]] for row in rows],
    )
