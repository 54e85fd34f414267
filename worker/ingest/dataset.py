"""A dataset, from the uploaded file to packed pixels: a format finds images and labels, the rest is common to all."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from app.contract.blobs import Artifact
from app.contract.results import DatasetResult
from app.contract.specs import DatasetIngest
from app.imaging.packed import PackedImages, PackedWriter
from worker.ingest import archive, classes, detect, disk, duplicates, measure, splits, warnings
from worker.ingest.naming import TEST
from worker.ingest.pack import Pack
from worker.ingest.parsed import Codes, ParsedDataset, Request
from worker.ingest.watch import DiskWatch
from worker.runtime.contract import Channel, Failure, Note, Result, Spec


def ingest(spec: Spec[DatasetIngest], channel: Channel) -> Result[DatasetResult]:
    """Make packed pixels of the uploaded file, and say what is in it.

    Raises:
        Failure: the file cannot be used: what about it is wrong, and what to change.
        Interrupted: an order to stop was given.
        Retry: the disk is full.
    """
    watch = DiskWatch(channel)
    pixels, index = spec.workdir / "pixels.bin", spec.workdir / "index.npz"
    packed = spec.inputs["file"].stat().st_size
    with disk.room_for("the dataset"), PackedWriter(pixels) as writer:
        opened = archive.open(spec.inputs["file"], watch)
        request = Request.of(spec.payload)
        request = replace(request, format=detect.format_of(opened, request))
        channel.emit(Note("reading", f"{len(opened.files):,} files, read as {request.format}."))
        pack = Pack(writer, disk.PixelFile(spec.workdir, packed, spec.pixel_bytes, spec.min_free_bytes))
        parsed = _checked(detect.FORMATS[request.format].read(opened, pack, request), request.labelled)
        before, parsed = parsed.classes, classes.arranged(parsed, request.classes)
        if before and not set(before) <= set(parsed.classes):
            text = f"The labels are numbers, and places in `classes`: 0 is {parsed.classes[0]}."
            pack.tell(Note("classes_named", text, "warning"))
        split_N = splits.carve(parsed.label_N, parsed.split_N, request.fractions, request.seed)
        if request.labelled == "test":
            parsed = _for_tests(parsed, split_N)
        writer.finish(index, parsed.row_N, parsed.label_N, split_N, parsed.target_NK, parsed.names)
    images = PackedImages.open(pixels, index)
    with ThreadPoolExecutor(2, "measure") as beside:
        sha256 = beside.submit(measure.sha256, images, parsed.classes, watch.checkpoint_or_stop)
        found = beside.submit(duplicates.find, images, parsed.names, watch.checkpoint_or_stop)
        mean, std = measure.moments(images, watch.checkpoint_or_stop)
    result = DatasetResult(
        format=request.format,
        labelled=measure.labelled(images),
        refused=pack.refused,
        classes=parsed.classes or None,
        multi_label=images.target is not None,
        image=measure.shape(images),
        splits=measure.splits(images),
        counts=measure.counts(images, parsed.classes) if parsed.classes else None,
        mean=mean,
        std=std,
        sha256=sha256.result(),
        duplicates=found.result(),
    )
    for note in (*pack.notes, *warnings.of(result, parsed, split_N, pack, request)):
        channel.emit(note)
    return Result(result, {Artifact.PIXELS: pixels, Artifact.INDEX: index})


def _checked(parsed: ParsedDataset, labelled: bool | str) -> ParsedDataset:
    """Labels that nobody wants are dropped; those that are wanted must tell at least two classes apart."""
    if not labelled:
        return replace(parsed, label_N=np.full_like(parsed.label_N, -1), classes=[], target_NK=None)
    classes.require_two(parsed.label_N, parsed.target_NK, parsed.classes)
    return parsed


def _for_tests(parsed: ParsedDataset, split_N: Codes) -> ParsedDataset:
    """Drop the labels of all but the test split.

    Raises:
        Failure: `no_labels`, that has none; `two_labels`, images have several.
    """
    if parsed.target_NK is not None:
        raise Failure("two_labels", 'With `labelled`: "test" an image has one label, not any number of them.')
    label_N = np.where(split_N == TEST, parsed.label_N, -1)
    if not (label_N >= 0).any():
        raise Failure("no_labels", "No image of the test split has a label.")
    return replace(parsed, label_N=label_N)
