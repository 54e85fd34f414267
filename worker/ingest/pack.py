"""Images on their way from an archive to the disk, and a list of the files that were none."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from app.contract.datasets import Refused
from app.imaging import images
from app.imaging.images import BadImage, Pixels
from app.imaging.packed import PackedWriter
from worker.ingest import disk
from worker.ingest.archive import Member
from worker.runtime.contract import Failure, Note

MAX_IMAGES = 20_000_000
MAX_IMAGE_BYTES = 64 * 2**20  # of one image file
LISTED = 100  # refused files that are named one by one
NAME_CHARS = 256
COPIED_BYTES = 2**20  # at a time
BATCH, BATCH_BYTES = 32, 2**20  # image files that a thread decodes at a time: either is enough
THREADS = min(8, os.cpu_count() or 1)
LOOK_AHEAD = 2 * THREADS  # batches, at most, that are read but not yet written

Encoded = tuple[str, bytes]
Changed = tuple[Pixels, frozenset[str]]
Decoded = tuple[str, Changed | BadImage]

In = TypeVar("In")
Out = TypeVar("Out")


class Pack:
    """Stores what is readable, refuses what is not; memory does not grow with the archive but by the names."""

    def __init__(self, writer: PackedWriter, room: disk.PixelFile) -> None:
        self._writer, self._room = writer, room
        self._refused: list[Refused] = []
        self.refusals = 0
        self.notes: list[Note] = []  # what is to be told of the dataset once it is read
        self.changes: Counter[str] = Counter()  # images by what of them is not kept as it was

    def decode(self, members: Iterable[Member]) -> list[str]:
        """Store image files; gives the names of those that could be read, in the order of storing.

        Raises:
            Failure: `no_images`, there is none.
        """
        names: list[str] = []
        with ThreadPoolExecutor(THREADS, "decode") as pool:
            for batch in _ahead(pool, _decoded, self._batches(members)):
                for name, image in batch:
                    if isinstance(image, BadImage):
                        self.refuse(name, str(image))
                    else:
                        pixels, changes = image
                        self.changes.update(changes)
                        names.append(name)
                        self._add(pixels)
        if not names:
            raise Failure("no_images", f"No image could be read{self._first()}.")
        return names

    def extend(self, images_NHWC: Pixels) -> None:
        """Store images that are decoded already."""
        if len(self._writer) + len(images_NHWC) > MAX_IMAGES:
            raise Failure("too_many_images", f"There are more than {MAX_IMAGES:,} images: split the dataset.")
        if images.is_bounded(images_NHWC.shape[1:3]):
            self._room.spend(images_NHWC.nbytes)
            self._writer.extend(images_NHWC)
            return
        self.changes["size"] += len(images_NHWC)
        for image in images_NHWC:
            self._add(images.bound(image))

    @contextmanager
    def on_disk(self, member: Member) -> Iterator[Path]:
        """A copy of the member beside the pixels, for readers that go back and forth in it."""
        path = self._room.folder / "member"
        try:
            with path.open("wb") as file:
                while piece := member.stream.read(COPIED_BYTES):
                    disk.require_free(self._room.folder, self._room.min_free + len(piece))
                    file.write(piece)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _add(self, image_HWC: Pixels) -> None:
        self._room.spend(image_HWC.nbytes)
        self._writer.add(image_HWC)

    def __len__(self) -> int:
        return len(self._writer)

    def tell(self, note: Note) -> None:
        self.notes.append(note)

    def refuse(self, name: str, reason: str) -> None:
        self.refusals += 1
        if self.refusals <= LISTED:
            self._refused.append(Refused(name=name[:NAME_CHARS], reason=reason))

    @property
    def refused(self) -> list[Refused]:
        """The first refused files and why; the last entry says how many more there are."""
        more = self.refusals - len(self._refused)
        return self._refused + ([Refused(name="…", reason=f"{more:,} more files were refused.")] if more else [])

    def _batches(self, members: Iterable[Member]) -> Iterator[list[Encoded]]:
        batch: list[Encoded] = []
        size = 0
        for member in members:
            if member.size > MAX_IMAGE_BYTES:
                self.refuse(member.name, f"The file has more than {MAX_IMAGE_BYTES:,} bytes.")
                continue
            batch.append((member.name, member.read(MAX_IMAGE_BYTES)))
            size += member.size
            if len(batch) == BATCH or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        yield batch

    def _first(self) -> str:
        return "".join(f"; {entry.name}: {entry.reason.rstrip('.')}" for entry in self._refused[:1])


def _decoded(batch: list[Encoded]) -> list[Decoded]:
    return [(name, _image(data)) for name, data in batch]


def _image(data: bytes) -> Changed | BadImage:
    try:
        image = images.opened(data)
        shrunk = not images.is_bounded(image.size)
        pixels, changes = images.changed(image, bounded=True)
        return pixels, changes | ({"size"} if shrunk else set())
    except BadImage as error:
        return error


def _ahead(pool: Executor, function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """Like `map`, in the order of the items, but it takes no more than `LOOK_AHEAD` of them in advance."""
    waiting: deque[Future[Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > LOOK_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
