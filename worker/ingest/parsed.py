"""The request for the ingest of a dataset, and what a format finds in its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.specs import DatasetIngest
from app.imaging.packed import SPLITS, Split
from worker.ingest.naming import OwnNames

Rows = NDArray[np.int64]
Codes = NDArray[np.uint8]

DEFAULT_FRACTIONS: Mapping[Split, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Request:
    """`fractions` of the training images, for the splits that the file does not bring; `labels` chooses CIFAR-100's.

    `labelled`: `test` is for the test split alone.  `columns` says which of a table have what (image, label or labels,
    split), `split_names` what else splits are called; `classes` is their order, if that is given.
    """

    format: str
    labelled: bool | Literal["test"]
    fractions: Mapping[Split, float]
    seed: int
    labels: Literal["fine", "coarse"]
    columns: Mapping[str, str]
    split_names: OwnNames
    classes: Sequence[str] | None

    @classmethod
    def of(cls, spec: DatasetIngest) -> Self:
        return cls(
            format=spec.format,
            labelled=spec.labelled,
            fractions=spec.splits or DEFAULT_FRACTIONS,
            seed=spec.seed,
            labels=spec.labels,
            columns=spec.columns or {},
            split_names={
                name.strip().lower(): SPLITS.index(split)
                for split, names in (spec.split_names or {}).items()
                for name in names
            },
            classes=spec.classes,
        )


@dataclass(frozen=True)
class ParsedDataset:
    """The images of a dataset in its order, which does not hang on that of the archive.

    `row_N` is an image's number in the pack, `label_N` its place in `classes` (−1: none), `split_N` a place in `SPLITS`
    or `UNSPLIT`.  `target_NK` as of `PackedImages`, where images may have several labels.  `names` are those of their
    files, where each has one.
    """

    row_N: Rows
    label_N: Rows
    split_N: Codes
    classes: list[str]
    target_NK: Codes | None = None
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class Block:
    """Images that came as one array: from `start` in the pack, one for each of `label_N`; `name` gives its place."""

    name: str
    split: int
    start: int
    label_N: Rows


def join(blocks: Sequence[Block], classes: list[str]) -> ParsedDataset:
    blocks = sorted(blocks, key=lambda block: (block.split, block.name))
    return ParsedDataset(
        np.concatenate([np.arange(block.start, block.start + len(block.label_N)) for block in blocks]),
        np.concatenate([block.label_N for block in blocks]),
        np.concatenate([np.full(len(block.label_N), block.split, np.uint8) for block in blocks]),
        classes,
    )
