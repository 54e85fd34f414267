"""Images and labels that come as arrays, in files of their own: what `idx` and `npz` have in common."""

from collections.abc import Container
from dataclasses import dataclass, field, replace

import numpy as np

from app.imaging.images import MAX_PIXELS
from app.imaging.packed import SPLITS
from worker.ingest import classes
from worker.ingest.archive import Readable
from worker.ingest.naming import UNSPLIT
from worker.ingest.pack import MAX_IMAGES, Pack
from worker.ingest.parsed import Block, Codes, ParsedDataset, Request, Rows, join
from worker.runtime.contract import Failure, Note

CHUNK_BYTES = 4 * 2**20  # of pixels that are read at a time


@dataclass
class Arrays:
    """The arrays that have been read so far, by split: images as (start, count) in the pack, labels as numbers, or as a
    column of 0 and 1 for each class."""

    images: dict[int, tuple[int, int]] = field(default_factory=dict)
    labels: dict[int, Rows] = field(default_factory=dict)
    columns: dict[int, Codes] = field(default_factory=dict)  # uint8 [N,K]

    def read_images(self, name: str, split: int, stream: Readable, shape: tuple[int, ...], pack: Pack) -> None:
        """uint8 `shape` = [N,H,W] or [N,H,W,C] from the stream into the pack, in pieces.

        Raises:
            Failure: `bad_array`, `two_arrays`.
        """
        _claim(self.images, split, name)
        count, height, width, channels = _frames(name, shape)
        self.images[split] = len(pack), count
        frame = height * width * channels
        step = max(1, CHUNK_BYTES // frame)
        for start in range(0, count, step):
            frames = min(step, count - start)
            data = read_exactly(name, stream, frames * frame)
            pack.extend(np.frombuffer(data, np.uint8).reshape(frames, height, width, channels))
        require_end(name, stream)

    def add_labels(self, name: str, split: int, label_N: Rows) -> None:
        """
        Raises:
            Failure: `two_arrays`.
        """
        _claim({*self.labels, *self.columns}, split, name)
        self.labels[split] = label_N

    def add_columns(self, name: str, split: int, column_NK: Codes) -> None:
        """
        Raises:
            Failure: `two_arrays`.
        """
        _claim({*self.labels, *self.columns}, split, name)
        self.columns[split] = column_NK

    def parsed(self, request: Request, pack: Pack) -> ParsedDataset:
        """Images with the labels of their split; classes are the numbers that occur, or all columns.

        Raises:
            Failure: `no_images`, `no_labels`, `labels_mismatch`, `too_many_classes`.
        """
        if not self.images:
            raise Failure("no_images", "The file holds no array of images.")
        if request.labelled and self.columns:
            return self._parsed_columns(request, pack)
        joined = join(self._blocks(request), [])
        if not request.labelled:
            return joined
        names, label_N = classes.number_values(joined.label_N)
        return ParsedDataset(joined.row_N, label_N, joined.split_N, names)

    def _parsed_columns(self, request: Request, pack: Pack) -> ParsedDataset:
        """Images with any number of labels; with one each where each row has one 1."""
        if self.labels or len({column_NK.shape[1] for column_NK in self.columns.values()}) > 1:
            raise Failure("labels_mismatch", "Labels of splits differ in form: give all as many columns of 0 and 1.")
        column_NK = np.concatenate(list(self.columns.values()))
        start = 0
        for split, own_NK in self.columns.items():
            self.labels[split] = np.arange(start, start + len(own_NK))
            start += len(own_NK)
        joined = join(self._blocks(request), [])
        target_NK = column_NK[joined.label_N]
        names = classes.checked([str(number) for number in range(target_NK.shape[1])])
        if (target_NK.sum(axis=1) == 1).all():
            text = "Each row of labels has one 1: it is the class, and an image has one."
            pack.tell(Note("labels_one_hot", text, "warning"))
            return replace(joined, label_N=target_NK.argmax(axis=1), classes=names)
        classes.require_targets(*target_NK.shape)
        return replace(joined, label_N=classes.rarest(target_NK), classes=names, target_NK=target_NK)

    def _blocks(self, request: Request) -> list[Block]:
        return [
            Block("", split, start, self._labels(split, count, request))
            for split, (start, count) in self.images.items()
        ]

    def _labels(self, split: int, count: int, request: Request) -> Rows:
        where = "" if split == UNSPLIT else f" of the split {SPLITS[split]}"
        label_N = self.labels.get(split)
        if not request.labelled:
            return np.full(count, -1)
        if label_N is None:
            raise Failure("no_labels", f"The images{where} have no labels: add them, or pass `labelled`: false.")
        if len(label_N) != count:
            raise Failure("labels_mismatch", f"There are {count} images{where}, but {len(label_N)} labels.")
        return label_N


def require_count(name: str, count: int) -> None:
    """
    Raises:
        Failure: `bad_array`, there are none, or too many.
    """
    if not 0 < count <= MAX_IMAGES:
        raise Failure("bad_array", f"{name} has {count} entries; 1 to {MAX_IMAGES:,} can be read.")


def read_exactly(name: str, stream: Readable, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise Failure("bad_array", f"{name} is shorter than its header says.")
    return data


def require_end(name: str, stream: Readable) -> None:
    if stream.read(1):
        raise Failure("bad_array", f"{name} is longer than its header says.")


def _frames(name: str, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """[N,H,W,C]."""
    count, height, width, channels = {3: (*shape, 1), 4: shape}.get(len(shape), (1, 0, 0, 0))
    require_count(name, count)
    if channels not in (1, 3) or min(height, width) < 1 or height * width > MAX_PIXELS:
        wanted = "[N,H,W], [N,H,W,1] or [N,H,W,3], channels last"
        raise Failure("bad_array", f"{name} has the shape {list(shape)}: images are {wanted}.")
    return count, height, width, channels


def _claim(taken: Container[int], split: int, name: str) -> None:
    if split in taken:
        raise Failure("two_arrays", f"{name} is the second array of its kind and split: leave one of each.")
