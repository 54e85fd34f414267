"""A dataset, from the uploaded file to packed pixels: a format finds images and labels, the rest is common to all."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from app.imaging.packed import PackedImages, PackedWriter
from worker.engine.contract import Channel, Failure, Note, Result, Spec
from worker.ingest import archive, detect, disk, measure, splits
from worker.ingest.found import Found, Request
from worker.ingest.pack import Pack
from worker.ingest.watch import Watch


def ingest(spec: Spec, channel: Channel) -> Result:
    """`spec.payload`: {format, labelled, splits, seed, labels}; see `app.datasets.service.spec_payload`.

    Raises:
        Failure: the file cannot be used: what about it is wrong, and what to change.
        Interrupted: an order to stop was given.
        Retry: the disk is full.
    """
    watch = Watch(channel)
    pixels, index = spec.workdir / "pixels.bin", spec.workdir / "index.npz"
    with disk.room_for("the dataset"), PackedWriter(pixels) as writer:
        opened = archive.open(spec.inputs["file"], watch)
        request = Request.parse(spec.payload)
        request = replace(request, format=detect.format_of(opened, request))
        channel.emit(Note("reading", f"{len(opened.files):,} files, read as {request.format}."))
        pack = Pack(writer)
        found = _checked(detect.FORMATS[request.format].read(opened, pack, request), request.labelled)
        split_N = splits.carve(found.label_N, found.split_N, request.fractions, request.seed)
        writer.finish(index, found.row_N, found.label_N, split_N, found.target_NK)
    figures = _figures(PackedImages.open(pixels, index), found.classes, watch)
    for warning in (*_warnings(figures, pack.refusals), *_on_table(request.format, found)):
        channel.emit(warning)
    document = {"format": request.format, "labelled": request.labelled, "refused": pack.refused} | figures
    return Result(document, {"pixels": pixels, "index": index})


def _checked(found: Found, labelled: bool) -> Found:
    """Labels that nobody wants are dropped; those that are wanted must tell at least two classes apart."""
    if not labelled:
        return replace(found, label_N=np.full_like(found.label_N, -1), classes=[])
    if found.target_NK is not None and not found.target_NK.all():
        return found
    present = np.unique(found.label_N)
    if len(present) < 2:
        only = found.classes[present[0]]
        raise Failure("one_class", f"All images are of the class {only!r}: add another, or pass `labelled`: false.")
    return found


def _figures(images: PackedImages, classes: list[str], watch: Watch) -> dict[str, Any]:
    mean, std = measure.moments(images, watch.heed)
    return {
        "classes": classes or None,
        "multi_label": images.target is not None,
        "image": measure.shape(images),
        "splits": measure.splits(images),
        "counts": measure.counts(images, classes) if classes else None,
        "mean": mean,
        "std": std,
        "sha256": measure.sha256(images, classes, watch.heed),
    }


def _warnings(figures: Mapping[str, Any], refusals: int) -> Iterator[Note]:
    if refusals:
        yield Note("files_refused", f"{refusals:,} files could not be used.", "warning", {"count": refusals})
    if figures["classes"] and figures["splits"]["train"]:
        counted = zip(figures["classes"], figures["counts"]["train"], strict=True)
        untrained = [name for name, count in counted if not count]
        if untrained:
            text = f"{len(untrained)} classes have no training image, {untrained[0]!r} for one."
            yield Note("classes_without_training", text, "warning", {"count": len(untrained)})


def _on_table(format: str, found: Found) -> Iterator[Note]:
    """Labels that were perhaps meant otherwise than they are read."""
    if format != "csv":
        return
    if found.target_NK is not None and found.target_NK.sum(axis=1).max() == 1:
        text = "No image has more than one label; in the column `labels` they are separated by `|`."
        yield Note("one_label_each", text, "warning")
    joined = sum("|" in name for name in found.classes)
    if joined:
        text = f"{joined} classes have a `|` in their names; lists of labels belong in a column `labels`."
        yield Note("labels_with_bars", text, "warning", {"count": joined})
