"""`npz`: NumPy's own archive, with arrays `images` and `labels`, or a pair of them for each split."""

import math
import re
from typing import Any

import numpy as np

from worker.engine.contract import Failure
from worker.ingest.archive import Archive, Member
from worker.ingest.arrays import Arrays, read_exactly, require_count, require_end
from worker.ingest.found import Found, Request, Rows, split_in, words
from worker.ingest.pack import Pack

SUFFIX = ".npy"
IMAGES, LABELS = {"images", "x"}, {"labels", "y"}
MAGIC = b"\x93NUMPY\1\0"  # with the version: later ones are for headers of more than 64 KiB

_TYPE = "[<>|]?(?:b1|[iu][1248]|f[248])"
_SHAPE = r"(?:\d{1,18}L?, ?)*(?:\d{1,18}L?)?"
_HEADER = re.compile(rf"\{{'descr': '({_TYPE})', 'fortran_order': (True|False), 'shape': \(({_SHAPE})\), ?\}}\s*")


def read(archive: Archive, pack: Pack, request: Request) -> Found:
    """Training images first, each split in the order of its array.

    Raises:
        Failure: `bad_array`, `two_arrays`, `no_images`, `no_labels`, `labels_mismatch`.
    """
    arrays = Arrays()
    for member in archive.walk():
        _read(member, arrays, pack)
    return arrays.found(request)


def suits(archive: Archive, _: Request) -> bool:
    return bool(archive.files) and all(name.endswith(SUFFIX) for name in archive.files)


def _read(member: Member, arrays: Arrays, pack: Pack) -> None:
    name, split = member.name.removesuffix(SUFFIX), split_in(member.name)
    if IMAGES & words(name):
        shape, dtype = _header(member)
        if dtype != np.uint8:
            raise Failure("bad_array", f"{name} is of {dtype}: images must be uint8, 0 to 255.")
        arrays.read_images(name, split, member.stream, shape, pack)
    elif LABELS & words(name):
        arrays.add_labels(name, split, _labels(member))
    else:
        pack.refuse(member.name, "Its name says neither images nor labels.")


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


def _labels(member: Member) -> Rows:
    """int64 [N], from integers [N] or [N,1]."""
    name = member.name
    shape, dtype = _header(member)
    count = math.prod(shape)
    if dtype.kind not in "iu" or shape not in ((count,), (count, 1)):
        raise Failure("bad_array", f"{name} is {dtype} {list(shape)}: labels are whole numbers, one an image.")
    require_count(name, count)
    label_N = np.frombuffer(read_exactly(name, member.stream, count * dtype.itemsize), dtype).astype(np.int64)
    require_end(name, member.stream)
    if label_N.min() < 0:
        raise Failure("bad_array", f"{name} holds negative numbers: labels count from 0.")
    return label_N
