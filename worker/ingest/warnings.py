"""Warnings for whoever brought a dataset, on how it was read."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from app.contract.datasets import ClassCounts, Duplicates
from app.contract.results import DatasetResult
from app.imaging.packed import SPLITS
from worker.ingest.naming import UNSPLIT
from worker.ingest.pack import Pack
from worker.ingest.parsed import Codes, ParsedDataset, Request
from worker.runtime.contract import Note

_CHANGES = {
    "transparency": "are transparent in parts: composed over white, or over black where white would hide the shape",
    "depth": "have more than 8 bits a channel: brought to 8 by the range in use (docs/api.md, Datasets)",
    "pages": "have more than one page: the first is taken",
    "size": "have more than 512 pixels on their shorter side: stored shrunk to that, the aspect kept",
}
# what a revision takes over from its parent: it is of the images and of their splits
LASTING = {
    "files_refused",
    *(f"images_changed_{change}" for change in _CHANGES),
    "splits_carved",
    "same_images_across_splits",
    "similar_images_across_splits",
}


def of(result: DatasetResult, parsed: ParsedDataset, split_N: Codes, pack: Pack, request: Request) -> Iterator[Note]:
    """`result` is the dataset's, `split_N` the splits that its images have in the end."""
    classes = result.classes
    if pack.refusals:
        yield _warning("files_refused", f"{pack.refusals:,} files could not be used.", count=pack.refusals)
    for change, change_text in _CHANGES.items():
        if count := pack.changes[change]:
            yield _warning(f"images_changed_{change}", f"{count:,} images {change_text}.", count=count)
    yield from _on_splits(parsed, split_N, request)
    if classes and result.labelled != "test":
        yield from on_classes(classes, result.counts if result.splits.train else None)
        if result.format == "csv":
            yield from _on_table(parsed)
    if result.duplicates is not None:
        yield from _on_duplicates(result.duplicates)


def _on_splits(parsed: ParsedDataset, split_N: Codes, request: Request) -> Iterator[Note]:
    brought = set(np.unique(parsed.split_N).tolist()) - {UNSPLIT}
    carved = {SPLITS[split]: int((split_N == split).sum()) for split in (1, 2) if split not in brought}
    if counts := [f"{count:,} {name} images" for name, count in carved.items() if count]:
        drawn = f"{' and '.join(counts)} were drawn at random (seed {request.seed}) from training"
        text = f"The file brings no such split: {drawn}."
        yield _warning("splits_carved", text, **carved)


def on_classes(classes: Sequence[str], counts: ClassCounts | None) -> Iterator[Note]:
    """`counts` are given where there are training images."""
    if counts is not None:
        untrained = [name for name, count in zip(classes, counts.train, strict=True) if not count]
        if untrained:
            text = f"{len(untrained)} classes have no training image, {untrained[0]!r} for one."
            yield _warning("classes_without_training", text, count=len(untrained))
    if len({name.casefold().strip() for name in classes}) < len(classes):
        yield _warning("classes_differ_in_case", "Names of some classes differ in case alone: they are two classes.")


def _on_table(parsed: ParsedDataset) -> Iterator[Note]:
    """Labels that were perhaps meant otherwise than they are read."""
    if parsed.target_NK is not None and parsed.target_NK.sum(axis=1).max() == 1:
        yield _warning("one_label_each", "No image has more than one label; in a column `labels` `|` separates them.")
    joined = sum("|" in name for name in parsed.classes)
    if joined:
        text = f"{joined} classes have a `|` in their names; lists of labels belong in a column `labels`."
        yield _warning("labels_with_bars", text, count=joined)


def _on_duplicates(duplicates: Duplicates) -> Iterator[Note]:
    if count := duplicates.across:
        pair = " and ".join(duplicates.examples[0].images)
        text = (
            f"{count:,} validation and test images are training images as well ({pair}): figures on them are too good."
        )
        yield _warning("same_images_across_splits", text, count=count)
    if count := duplicates.near or 0:
        pair = " and ".join(next(pair.images for pair in duplicates.examples if pair.near))
        text = f"{count:,} more validation and test images look like training images ({pair}): figures may be too good."
        yield _warning("similar_images_across_splits", text, count=count)


def _warning(type: str, message: str, **data: Any) -> Note:
    return Note(type, message, "warning", data)
