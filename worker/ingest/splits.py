"""Training, validation and test images: what a dataset brings is kept, what it lacks is carved out of training."""

from collections.abc import Mapping, Sequence

import numpy as np

from app.imaging.packed import SPLITS, Split
from worker.ingest.naming import TEST, TRAIN, UNSPLIT, VALIDATION
from worker.ingest.parsed import Codes, Rows
from worker.runtime.contract import Failure

CARVED = (TEST, VALIDATION)  # in this order, where a class has too few images for both


def carve(label_N: Rows, split_N: Codes, fractions: Mapping[Split, float], seed: int) -> Codes:
    """The split of each image; those that have none yet are training images first.

    A split that is missing gets of every class its share f / (f of train + f of all that are missing), at random
    by `seed`; at least one image, as long as one is left to train on.

    Raises:
        Failure: `too_few_images`, a split that was to be carved stays empty.
    """
    split_N = np.where(split_N == UNSPLIT, TRAIN, split_N).astype(np.uint8)
    train = np.flatnonzero(split_N == TRAIN)
    missing = [split for split in CARVED if fractions[SPLITS[split]] > 0 and not (split_N == split).any()]
    if not len(train) or not missing:
        return split_N
    whole = fractions["train"] + sum(fractions[SPLITS[split]] for split in missing)
    shares = [fractions[SPLITS[split]] / whole for split in missing]
    for rows in _by_class(train, label_N, seed):
        end = 0
        for split, count in zip(missing, _counts(len(rows), shares), strict=True):
            split_N[rows[end : end + count]] = split
            end += count
    for split in missing:
        if not (split_N == split).any():
            raise Failure(
                "too_few_images",
                f"No class has images enough to give some of its {SPLITS[split]} split: add images, or set the split's "
                f"part to 0 in `splits`.",
            )
    return split_N


def _by_class(rows: Rows, label_N: Rows, seed: int) -> list[Rows]:
    """The rows of each class, in a random order."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    ordered = shuffled[np.argsort(label_N[shuffled], kind="stable")]
    return np.split(ordered, np.flatnonzero(np.diff(label_N[ordered])) + 1)


def _counts(images: int, shares: Sequence[float]) -> list[int]:
    """The number of a class's images that each split gets."""
    counts, left = [], images - 1  # one to train on
    for later, share in zip(reversed(range(len(shares))), shares, strict=True):
        counts.append(max(min(1, left), min(round(images * share), left - later)))
        left -= counts[-1]
    return counts
