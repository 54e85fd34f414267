"""A revision of a dataset: its images in their splits, with labels that a list adds and corrects.

The list is a table (`worker.ingest.tabular`) or the JSON of a request.  It names images by their files, as tables
beside images do, or by the ids of their samples.  Pixels are only read, for the digest.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.contract.blobs import Artifact, Input
from app.contract.datasets import RevisionReport
from app.contract.results import RevisionResult
from app.contract.specs import DatasetIngest, DatasetRevision
from app.imaging import packed
from app.imaging.packed import PackedImages
from worker.ingest import cells, classes, csv, disk, measure, tabular, warnings
from worker.ingest.csv import MAX_TABLE_BYTES, Labels
from worker.ingest.listed import Files
from worker.ingest.parsed import Codes, Request, Rows
from worker.ingest.watch import DiskWatch
from worker.runtime.contract import Channel, Failure, Note, Result, Spec

LISTED = 100  # entries without an image that are named one by one
NAME_CHARS = 256
SHOWN = 5  # names in a message

_SAMPLE = re.compile(r"sample_(\d{1,9})")


def revise(spec: Spec[DatasetRevision], channel: Channel) -> Result[RevisionResult]:
    """Write an index of the parent's pixels with the labels of the list where it has some, else the parent's.

    Raises:
        Failure: the list cannot be read, or does not go with the dataset: what to change.
        Interrupted: an order to stop was given.
        Retry: the disk is full.
    """
    watch, parent = DiskWatch(channel), spec.payload
    pixels, before = spec.inputs[Input.PARENT_PIXELS], spec.inputs[Input.PARENT_INDEX]
    images, names = PackedImages.open(pixels, before), packed.names(before)
    said = _read(spec.inputs[Input.FILE], parent, ImageNames(names, len(images)), channel.emit)
    watch.checkpoint_or_stop()
    named = _numbered(said, parent.classes, channel.emit)
    new = classes.checked([*parent.classes, *sorted(set().union(*named.values()).difference(parent.classes))])
    label_N, target_NK = (_several if said.several else _single)(images, named, new)
    classes.require_two(label_N, target_NK, new)
    index = spec.workdir / "index.npz"
    with disk.room_for("the dataset"):
        images.relabel(index, label_N, target_NK, names)
    revised = PackedImages.open(pixels, index)
    result = RevisionResult(
        labelled=measure.labelled(revised),
        classes=new,
        multi_label=target_NK is not None,
        counts=measure.counts(revised, new),
        sha256=measure.sha256(revised, new, watch.checkpoint_or_stop),
        pixel_bytes=pixels.stat().st_size,
        report=_report(images, revised, said),
    )
    for note in _notes(result, revised, said, parent):
        channel.emit(note)
    return Result(result, {Artifact.INDEX: index})


class ImageNames(Files):
    """The images of a dataset by what lists call them: `names` of their files, None where these are not known, or ids
    of samples."""

    def __init__(self, names: Sequence[str] | None, count: int) -> None:
        self.known = names is not None
        self.all = [f"sample_{row}" for row in range(count)] if names is None else names
        self.row = {name: row for row, name in enumerate(self.all)}
        super().__init__(self.all)

    def match(self, listed: str, table: str) -> str | None:
        """
        Raises:
            Failure: `ambiguous_names`, it is the id of one image's sample, and the name of another.
        """
        by_name = super().match(listed, table)
        sample = _SAMPLE.fullmatch(listed.strip())
        if sample is None or not self.known or int(sample[1]) >= len(self.all):
            return by_name
        by_id = self.all[int(sample[1])]
        if by_name not in (None, by_id):
            text = f"{listed!r} is the id of {by_id} and may be meant as {by_name}: give the names of files."
            raise Failure("ambiguous_names", text)
        return by_id


@dataclass
class _Said:
    """A list's sayings: `labels` of each image that it names with some, or with none on purpose; `several`: images may
    have any number."""

    several: bool
    labels: dict[int, Labels] = field(default_factory=dict)
    blank: int = 0
    unknown: list[str] = field(default_factory=list)
    split_column: str | None = None

    def add(self, row: int, labels: Labels, *, adding_up: bool) -> None:
        """
        Raises:
            Failure: `two_labels`, it is said otherwise before.
        """
        before = self.labels.get(row)
        if before is not None and before != labels and not adding_up:
            raise Failure("two_labels", f"The list says two things of one image: {_some(sorted(before | labels))}.")
        self.labels[row] = labels if before is None else before | labels


def _read(path: Path, parent: DatasetRevision, names: ImageNames, tell: Callable[[Note], None]) -> _Said:
    """
    Raises:
        Failure: `bad_table`, it cannot be read; `missing_files`, it names no image of the dataset; `two_labels`.
    """
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise Failure("bad_table", f"The list of labels has more than {MAX_TABLE_BYTES:,} bytes.")
    content = path.read_bytes()
    said = _read_stated(content, parent, names) if parent.stated else _read_table(content, parent, names, tell)
    if not said.labels and not said.blank:
        raise _names_none(said.unknown, names)
    if not said.several and (two := next((one for one in said.labels.values() if len(one) > 1), None)):
        raise Failure("two_labels", f"An image of this dataset has one label, and is given {_some(sorted(two))}.")
    return said


def _read_stated(content: bytes, parent: DatasetRevision, names: ImageNames) -> _Said:
    """A label is a text, a list of texts, or null for none."""
    entries = json.loads(content)
    several = any(isinstance(entry["label"], list) and len(entry["label"]) > 1 for entry in entries)
    said = _Said(several=parent.multi_label or (not parent.classes and several))
    for entry in entries:
        name, label = names.match(entry["image"], ""), entry["label"]
        if name is None:
            said.unknown.append(entry["image"])
        else:
            labels = label if isinstance(label, list) else [] if label is None else [label]
            said.add(names.row[name], frozenset(labels), adding_up=False)
    return said


def _read_table(content: bytes, parent: DatasetRevision, names: ImageNames, tell: Callable[[Note], None]) -> _Said:
    """Lines without a label say nothing; those of columns of 0 and 1 always say something."""
    request = Request.of(DatasetIngest(columns=parent.columns))
    try:
        table = csv.table_of(content, parent.filename, names, request, folders_too=False)
    except Failure as failure:
        if failure.code != "missing_files":
            raise
        _, records = tabular.read(content, parent.filename, SHOWN)
        raise _names_none([", ".join(record) for _, record in records], names) from None
    one_hot = bool(table.columns.classes)
    several = table.columns.several or one_hot if not parent.classes else parent.multi_label
    found: list[tuple[str, Labels]] = []
    said = _Said(several)
    for _, record in table.records:
        listed = record[table.columns.image]
        name, labels = names.match(listed, table.name), csv.labels_of(table, record) - {""}
        if name is None:
            said.unknown.append(listed)
        elif labels or one_hot:
            found.append((name, labels))
        else:
            said.blank += 1
    if not one_hot and (parent.multi_label or not parent.classes):
        texts = {cell for _, labels in found for cell in labels}.difference(parent.classes)
        if separator := csv.separator_of(texts, several, tell):
            said.several = True
            found = [(name, cells.each(labels, separator, whole=parent.classes)) for name, labels in found]
    for name, labels in found:
        said.add(names.row[name], labels, adding_up=said.several)
    if table.columns.split is not None:
        said.split_column = table.header[table.columns.split].strip()
    return said


def _names_none(unknown: Sequence[str], names: ImageNames) -> Failure:
    own = f"its images are called {_some(names.all)}"
    if not names.known:
        last = len(names.all) - 1
        own = (
            "no names of its images are kept, since they came as arrays or were read by an older version: call them "
            f"sample_0 to sample_{last}, the ids of its samples"
        )
    return Failure("missing_files", f"The list ({_some(unknown)}) names no image of the dataset; {own}.")


def _numbered(said: _Said, known: Sequence[str], tell: Callable[[Note], None]) -> dict[int, Labels]:
    """The labels by row; where all are numbers of classes, and none the name of one, those classes."""
    texts = set().union(*said.labels.values())
    numbers = {str(number): name for number, name in enumerate(known)}
    if not texts or texts & set(known) or not texts <= numbers.keys():
        return said.labels
    tell(Note("classes_named", f"The labels are numbers of the dataset's classes: 0 is {known[0]}.", "warning"))
    return {row: frozenset(numbers[label] for label in labels) for row, labels in said.labels.items()}


def _single(images: PackedImages, named: dict[int, Labels], names: Sequence[str]) -> tuple[Rows, None]:
    place = {name: number for number, name in enumerate(names)}
    label_N = images.label.copy()
    for row, labels in named.items():
        label_N[row] = next((place[label] for label in labels), -1)
    return label_N, None


def _several(images: PackedImages, named: dict[int, Labels], names: Sequence[str]) -> tuple[Rows, Codes]:
    """
    Raises:
        Failure: `no_labels`, images of a dataset that had no labels would stay without; `too_many_classes`.
    """
    if images.target is None and len(named) < len(images):
        raise Failure(
            "no_labels",
            f"The list gives {len(named):,} of {len(images):,} images labels, of which an image may have several: the "
            "others would count as examples of none. List all.",
        )
    classes.require_targets(len(images), len(names))
    place = {name: number for number, name in enumerate(names)}
    target_NK = np.zeros((len(images), len(names)), np.uint8)
    if images.target is not None:
        target_NK[:, : images.target.shape[1]] = images.target
    for row, labels in named.items():
        target_NK[row] = 0
        target_NK[row, [place[label] for label in labels]] = 1
    return classes.rarest(target_NK), target_NK


def _report(before: PackedImages, after: PackedImages, said: _Said) -> RevisionReport:
    had, has = before.label >= 0, after.label >= 0  # where there may be several: those of any class
    differ = before.label != after.label
    if before.target is not None and after.target is not None:
        kept = before.target.shape[1]
        differ = (before.target != after.target[:, :kept]).any(axis=1) | after.target[:, kept:].any(axis=1)
    added, removed = int((has & ~had).sum()), int((had & ~has).sum())
    changed = int((had & has & differ).sum())
    return RevisionReport(
        added=added,
        changed=changed,
        unchanged=len(said.labels) - added - removed - changed,
        removed=removed,
        blank=said.blank,
        unknown=len(said.unknown),
        unknown_images=[name[:NAME_CHARS] for name in said.unknown[:LISTED]],
    )


def _notes(result: RevisionResult, images: PackedImages, said: _Said, parent: DatasetRevision) -> Iterable[Note]:
    for warning in parent.warnings:
        if warning["code"] in warnings.LASTING:
            yield Note(warning["code"], warning["message"], "warning")
    report = result.report
    if report.unknown:
        text = f"{report.unknown:,} entries of the list name no image of the dataset: {_some(report.unknown_images)}."
        yield Note("labels_without_image", text, "warning", {"count": report.unknown})
    if report.blank:
        text = f"{report.blank:,} entries of the list say no label, and change nothing."
        yield Note("labels_blank", text, "warning", {"count": report.blank})
    if not report.added + report.changed + report.removed:
        yield Note("labels_unchanged", "No label differs from the parent's.", "warning")
    if said.split_column is not None:
        text = f"The column {said.split_column!r} is not read: images keep their splits."
        yield Note("splits_kept", text, "warning")
    if parent.classes and (new := result.classes[len(parent.classes) :]):
        yield Note("classes_added", f"{len(new):,} classes are new: {_some(list(map(repr, new)))}.", "warning")
    if unlabelled := int((images.label < 0).sum()) if images.target is None else 0:
        text = f"{unlabelled:,} of {len(images):,} images have no label: methods that learn from labels pass them over."
        yield Note("images_unlabelled", text, "warning", {"count": unlabelled})
    if result.labelled is True:
        yield from warnings.on_classes(result.classes, result.counts if len(images.rows("train")) else None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
