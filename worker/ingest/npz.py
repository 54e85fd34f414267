"""`npz`: NumPy's own archive, with arrays `images` and `labels`, or a pair of them for each split."""

import math
import re
from typing import Any

import numpy as np

from worker.ingest import classes
from worker.ingest.archive import Archive, Member
from worker.ingest.arrays import CHUNK_BYTES, Arrays, read_exactly, require_count, require_end
from worker.ingest.naming import split_in, words
from worker.ingest.pack import Pack
from worker.ingest.parsed import Codes, ParsedDataset, Request, Rows
from worker.runtime.contract import Failure

SUFFIX = ".npy"
IMAGES, LABELS = {"images", "x", "data", "image"}, {"labels", "y", "target", "targets", "label"}
WANTED = (
    "`images` and `labels`, `x` and `y`, or `data` and `target`, each with `train`, `val` or `test` before or behind it"
)
MAGIC = b"\x93NUMPY\1\0"  # with the version: later ones are for headers of more than 64 KiB

_TYPE = "[<>|]?(?:b1|[iu][1248]|f[248])"
_SHAPE = r"(?:\d{1,18}L?, ?)*(?:\d{1,18}L?)?"
_HEADER = re.compile(rf"\{{'descr': '({_TYPE})', 'fortran_order': (True|False), 'shape': \(({_SHAPE})\), ?\}}\s*")


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """Training images first, each split in the order of its array.

    Raises:
        Failure: `bad_array`, `two_arrays`, `no_images`, `no_labels`, `labels_mismatch`.
    """
    arrays, unknown = Arrays(), list[str]()
    positional = sorted(archive.files) == ["arr_0.npy", "arr_1.npy"]  # as savez calls what it is given without names
    for member in archive.walk():
        if not _read(member, arrays, pack, positional):
            unknown.append(member.name.removesuffix(SUFFIX))
            pack.refuse(member.name, "Its name says neither images nor labels.")
    if unknown and not arrays.images:
        raise Failure("no_images", f"Of the arrays {', '.join(unknown)} none is known: they are called {WANTED}.")
    if unknown and request.labelled and not (arrays.labels or arrays.columns):
        raise Failure("no_labels", f"No labels are among the arrays {', '.join(unknown)}: they are called {WANTED}.")
    return arrays.parsed(request, pack)


def suits(archive: Archive, _: Request) -> bool:
    return bool(archive.files) and all(name.endswith(SUFFIX) for name in archive.files)


def _read(member: Member, arrays: Arrays, pack: Pack, positional: bool) -> bool:
    """False, and nothing read, where the name says neither images nor labels; `positional`: the shape does."""
    name, split = member.name.removesuffix(SUFFIX), split_in(member.name)
    images, labels = bool(IMAGES & words(name)), bool(LABELS & words(name))
    if not (images or labels or positional):
        return False
    shape, dtype = _header(member)
    if images or (positional and len(shape) > 2):
        if dtype != np.uint8:
            raise Failure("bad_array", f"{name} is of {dtype}: images must be uint8, 0 to 255.")
        arrays.read_images(name, split, member.stream, shape, pack)
    elif len(shape) == 2 and shape[1] > 1:
        arrays.add_columns(name, split, _columns(member, shape, dtype))
    else:
        arrays.add_labels(name, split, _labels(member, shape, dtype))
    return True


def _header(member: Member) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type; the stream is then at the elements.  NumPy's own reader would evaluate the header as Python."""
    start = member.stream.read(len(MAGIC) + 2)
    length = int.from_bytes(start[len(MAGIC) :], "little")
    header = _HEADER.fullmatch(member.stream.read(length).decode("latin1"))
    if not start.startswith(MAGIC) or header is None:
        raise Failure("bad_array", f"{member.name} is no array of numbers in the format .npy, version 1.0.")
    dtype, by_columns, shape = header.groups()
    sides = tuple(map(int, re.findall(r"\d+", shape)))
    if by_columns == "True" and len(sides) > 1:
        raise Failure("bad_array", f"{member.name} is in Fortran's order: save np.ascontiguousarray of it.")
    return sides, np.dtype(dtype)


def _columns(member: Member, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Codes:
    """uint8 [N,K], from 0 and 1 of any type: a column for each class."""
    name, count = member.name, math.prod(shape)
    if shape[1] > classes.MAX_CLASSES or count > classes.MAX_TARGETS:
        raise Failure("too_many_classes", f"{name} is {list(shape)}: {classes.MAX_CLASSES:,} classes are the limit.")
    require_count(name, shape[0])
    pieces, step = [], max(1, CHUNK_BYTES // (shape[1] * dtype.itemsize))
    for start in range(0, shape[0], step):
        rows = min(step, shape[0] - start)
        piece = np.frombuffer(read_exactly(name, member.stream, rows * shape[1] * dtype.itemsize), dtype)
        if ((piece != 0) & (piece != 1)).any():
            raise Failure(
                "bad_array",
                f"{name} is {dtype} {list(shape)}, and not of 0 and 1: labels are a whole number an image, or a column "
                "of 0 and 1 for each class.",
            )
        pieces.append(piece.astype(np.uint8).reshape(rows, shape[1]))
    require_end(name, member.stream)
    return np.concatenate(pieces)


def _labels(member: Member, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Rows:
    """int64 [N], from integers [N] or [N,1]."""
    name = member.name
    count = math.prod(shape)
    if dtype.kind not in "iu" or shape not in ((count,), (count, 1)):
        raise Failure("bad_array", f"{name} is {dtype} {list(shape)}: labels are whole numbers, one an image.")
    require_count(name, count)
    label_N = np.frombuffer(read_exactly(name, member.stream, count * dtype.itemsize), dtype).astype(np.int64)
    require_end(name, member.stream)
    if label_N.min() < 0:
        raise Failure("bad_array", f"{name} holds negative numbers: labels count from 0.")
    return label_N
