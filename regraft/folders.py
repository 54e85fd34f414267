"""A folder on its way to the service: packed while it is sent, without a copy in memory or on the disk."""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from regraft.wire import CHUNK

LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # beside what begins with a dot: the service passes over them, too


@dataclass(frozen=True)
class Folder:
    """`files` by their names in the archive, sorted, with their bytes; `left_out` counts hidden files, litter, and what
    is neither a file nor a folder."""

    path: Path
    files: dict[str, int]
    left_out: int

    @classmethod
    def listed(cls, path: Path) -> Self:
        """List the folder; links are followed, a folder that was listed before is not listed again.

        Raises:
            ValueError: it holds no files.
        """
        files: dict[str, int] = {}
        left_out, seen = 0, set[str]()
        for above, folders, names in os.walk(path, followlinks=True):
            folders[:] = [name for name in folders if not _is_litter(name)]
            if (real := os.path.realpath(above)) in seen:
                folders.clear()
                continue
            seen.add(real)
            for name in names:
                file = Path(above, name)
                if _is_litter(name) or not file.is_file():
                    left_out += 1
                else:
                    files[file.relative_to(path).as_posix()] = file.stat().st_size
        if not files:
            raise ValueError(f"{path} holds no files.")
        return cls(path, dict(sorted(files.items())), left_out)

    @property
    def filename(self) -> str:
        return f"{self.path.resolve().name or 'data'}.zip"

    @property
    def size(self) -> int:
        return sum(self.files.values())

    def __str__(self) -> str:
        besides = f", {self.left_out:,} left out (hidden files and system litter)" if self.left_out else ""
        return f"{self.path}: {len(self.files):,} files packed{besides}."

    def packed(self, part_bytes: int) -> Iterator[bytes]:
        """Yield a zip of the files, stored as they are, in pieces of `part_bytes` and a rest; equal folders have equal
        ones."""
        sink = _Sink()
        with zipfile.ZipFile(sink, "w") as archive:
            for name, size in self.files.items():
                entry = zipfile.ZipInfo(name)
                entry.file_size = size
                with Path(self.path, name).open("rb") as file, archive.open(entry, "w") as member:
                    while piece := file.read(CHUNK):
                        member.write(piece)
                        yield from sink.pieces(part_bytes)
        yield from sink.pieces(part_bytes)
        yield bytes(sink.held)


class _Sink:
    """A file for zipfile to write; the bytes come out at its other end."""

    def __init__(self) -> None:
        self.held = bytearray()

    def write(self, data: bytes) -> int:
        self.held += data
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def pieces(self, size: int) -> Iterator[bytes]:
        while len(self.held) > size:
            yield bytes(self.held[:size])
            del self.held[:size]


def _is_litter(name: str) -> bool:
    return name in LITTER or name.startswith(".")
