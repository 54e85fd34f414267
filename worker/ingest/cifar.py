"""`cifar10` and `cifar100`: the official archives, python and binary; https://www.cs.toronto.edu/~kriz/cifar.html."""

import re
from dataclasses import dataclass

import numpy as np

from app.imaging.images import Pixels
from worker.ingest import classes, pickled
from worker.ingest.archive import Archive, Member
from worker.ingest.arrays import read_exactly
from worker.ingest.naming import TEST, TRAIN
from worker.ingest.pack import Pack
from worker.ingest.parsed import Block, ParsedDataset, Request, Rows, join
from worker.runtime.contract import Failure

SIDE = 32
PIXELS_BYTES = 3 * SIDE * SIDE  # of an image: a plane of red, of green, of blue
MAX_BATCH_BYTES = 512 * 2**20
MAX_NAMES_BYTES = 2**20
CHUNK = 1024  # records of a binary file that are read at a time


@dataclass(frozen=True)
class Form:
    """The layout of the archives of one of the two datasets, for CIFAR-100 with one of its label sets.

    A binary record is `label_bytes`, the label at `label_at` of them, then the pixels.
    """

    batch: re.Pattern[str]
    meta: str
    text: str  # the binary archive's names of classes
    names: str
    labels: str
    label_bytes: int
    label_at: int


_TEN = Form(
    batch=re.compile(r"(data_batch_\d+|test_batch)(\.bin)?"),
    meta="batches.meta",
    text="batches.meta.txt",
    names="label_names",
    labels="labels",
    label_bytes=1,
    label_at=0,
)


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """Training batches in the order of their names, then the test batch.

    Raises:
        Failure: `wrong_format`, `unsafe_pickle`, `bad_array`.
    """
    form, names, blocks = _form(request), list[str](), list[Block]()
    for member in archive.walk():
        file = _file(member.name)
        if file in (form.meta, form.text):
            names = _names(member, form)
        elif form.batch.fullmatch(file):
            blocks.append((_binary if file.endswith(".bin") else _pickled)(member, form, pack))
    if not names or not blocks:
        raise Failure("wrong_format", f"The archive lacks what {request.format} has: names of classes, and batches.")
    parsed = join(blocks, classes.checked(names))
    if not 0 <= parsed.label_N.min() <= parsed.label_N.max() < len(names):
        raise Failure("bad_array", f"There are labels beside those of the {len(names)} classes that are named.")
    return parsed


def suits_ten(archive: Archive, _: Request) -> bool:
    return any(_TEN.meta == file or _TEN.batch.fullmatch(file) for file in map(_file, archive.files))


def suits_hundred(archive: Archive, _: Request) -> bool:
    files = set(map(_file, archive.files))
    return "fine_label_names.txt" in files or ("meta" in files and not files.isdisjoint(("train", "test")))


def _form(request: Request) -> Form:
    if request.format == "cifar10":
        return _TEN
    return Form(
        batch=re.compile(r"(train|test)(\.bin)?"),
        meta="meta",
        text=f"{request.labels}_label_names.txt",
        names=f"{request.labels}_label_names",
        labels=f"{request.labels}_labels",
        label_bytes=2,
        label_at=("coarse", "fine").index(request.labels),  # the record has both, in this order
    )


def _names(member: Member, form: Form) -> list[str]:
    data = member.read(MAX_NAMES_BYTES)
    if _file(member.name) == form.text:
        return [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    names = pickled.load(member.name, data).get(form.names)
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise Failure("bad_array", f"{member.name} has no list `{form.names}`.")
    return [name if isinstance(name, str) else name.decode("utf-8", "replace") for name in names]


def _pickled(member: Member, form: Form, pack: Pack) -> Block:
    record = pickled.load(member.name, member.read(MAX_BATCH_BYTES))
    data_NP, label_N = record.get("data"), _labels(member, record.get(form.labels))
    if not isinstance(data_NP, np.ndarray) or data_NP.dtype != np.uint8 or data_NP.shape[1:] != (PIXELS_BYTES,):
        raise Failure("bad_array", f"{member.name} has no array `data` of uint8 [N,{PIXELS_BYTES}].")
    if not len(data_NP) or label_N.shape != (len(data_NP),):
        raise Failure("bad_array", f"{member.name} has {len(data_NP)} images, but {label_N.size} `{form.labels}`.")
    start = len(pack)
    pack.extend(_images(data_NP))
    return Block(member.name, _split(member), start, label_N)


def _labels(member: Member, value: object) -> Rows:
    try:
        return np.array(value, np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise Failure("bad_array", f"{member.name} has no list of labels: {error}.") from error


def _binary(member: Member, form: Form, pack: Pack) -> Block:
    record = form.label_bytes + PIXELS_BYTES
    count, rest = divmod(member.size, record)
    if rest or not count:
        raise Failure("bad_array", f"{member.name} has {member.size} bytes: no whole number of records of {record}.")
    start, label_N = len(pack), np.empty(count, np.int64)
    for first in range(0, count, CHUNK):
        records = min(CHUNK, count - first)
        data = read_exactly(member.name, member.stream, records * record)
        data_NR = np.frombuffer(data, np.uint8).reshape(records, record)
        label_N[first : first + records] = data_NR[:, form.label_at]
        pack.extend(_images(data_NR[:, form.label_bytes :]))
    return Block(member.name, _split(member), start, label_N)


def _images(data_NP: Pixels) -> Pixels:
    """[N,H,W,C] of planes one after another."""
    return data_NP.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _split(member: Member) -> int:
    return TEST if "test" in _file(member.name) else TRAIN


def _file(name: str) -> str:
    return name.rpartition("/")[2]
