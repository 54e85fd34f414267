"""`idx`: the format of MNIST and its family, plain or in gz; http://yann.lecun.com/exdb/mnist."""

import re
import struct

import numpy as np

from worker.ingest.archive import Archive, Member
from worker.ingest.arrays import Arrays, read_exactly, require_count, require_end
from worker.ingest.naming import split_in
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.runtime.contract import Failure

UNSIGNED_BYTE = 0x08  # IDX's code of the type
LABELS = 1  # dimension
IMAGES = (3, 4)  # dimensions

_NAME = re.compile(r"idx[134]-ubyte(\.gz)?$")


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """Training images first, each split in the order of its file.

    Raises:
        Failure: `bad_array`, `two_arrays`, `no_images`, `no_labels`, `labels_mismatch`.
    """
    arrays = Arrays()
    for member in archive.walk():
        _read(member, arrays, pack)
    return arrays.parsed(request, pack)


def suits(archive: Archive, _: Request) -> bool:
    """Archives suit by the names of their files, a bare file by its first bytes."""
    if not archive.bare:
        return any(_NAME.search(name) for name in archive.files)
    return any(member.stream.gunzipped().read(3) == bytes((0, 0, UNSIGNED_BYTE)) for member in archive.walk())


def _read(member: Member, arrays: Arrays, pack: Pack) -> None:
    name, stream = member.name, member.stream.gunzipped()
    magic = stream.read(4)
    if len(magic) != 4 or magic[:2] != b"\0\0":
        pack.refuse(name, "It is not an IDX file.")
        return
    kind, dimensions = magic[2:]
    if kind != UNSIGNED_BYTE or dimensions not in (LABELS, *IMAGES):
        raise Failure("bad_array", f"{name}: of IDX files, images and labels of unsigned bytes can be read.")
    shape = struct.unpack(f">{dimensions}I", read_exactly(name, stream, 4 * dimensions))
    if dimensions in IMAGES:
        arrays.read_images(name, split_in(name), stream, shape, pack)
        return
    require_count(name, shape[0])
    label_N = np.frombuffer(read_exactly(name, stream, shape[0]), np.uint8)
    require_end(name, stream)
    arrays.add_labels(name, split_in(name), label_N.astype(np.int64))
