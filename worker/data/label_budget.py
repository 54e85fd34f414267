"""The label budget: which labelled examples a run may see."""

import numpy as np
from numpy.typing import NDArray

from worker.runtime import seeds

Rows = NDArray[np.int64]


def per_class(rows: Rows, label: NDArray[np.int64], count: int, seed: int) -> Rows:
    """Up to `count` of each class out of `rows` (ascending).

    Nested: for the same seed, the 5 of a class are among the 10.  `label[i]` is the class of `rows[i]`.
    """
    return np.sort(rows[_rank_in_class(label, seed) < count])


def total(rows: Rows, label: NDArray[np.int64], count: int, seed: int) -> Rows:
    """Up to `count` of `rows` (ascending), classes in proportion; nested, and one of every class before two of any."""
    rank = _rank_in_class(label, seed)
    share = np.where(rank == 0, 0.0, (rank + 0.5) / np.bincount(label)[label])
    shuffled = _permutation(len(rows), seed, "total")
    order = shuffled[np.argsort(share[shuffled], kind="stable")]
    return np.sort(rows[order[:count]])


def _rank_in_class(label: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Each example's place in a random order of its class."""
    shuffled = _permutation(len(label), seed, "class")
    order = shuffled[np.argsort(label[shuffled], kind="stable")]
    starts = np.cumsum(np.concatenate(([0], np.bincount(label))))[:-1] if len(label) else label
    rank = np.empty(len(label), np.int64)
    rank[order] = np.arange(len(label)) - starts[label[order]]
    return rank


def _permutation(count: int, seed: int, stream: str) -> NDArray[np.int64]:
    return np.random.default_rng(seeds.derive(seed, "labels", stream)).permutation(count)
