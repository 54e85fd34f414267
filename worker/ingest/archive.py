"""Untrusted archives, read member by member: nothing is unpacked to disk, and every byte that comes out is counted."""

import bz2
import contextlib
import gzip
import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol, Self, cast

from worker.ingest.watch import DiskWatch
from worker.runtime.contract import Failure

MAX_FILES = 1_000_000
MAX_BYTES = 64 * 2**30  # of all members together, unpacked
MAX_RATIO = 100  # of unpacked to packed bytes …
HARMLESS_BYTES = 2**20  # … once more than these have come out
MAX_DIRECTORY_BYTES = 128 * 2**20  # of a zip's list of members
MAX_NAME_CHARS = 1024

BARE = "data"  # the name of a file that is no archive
NESTED = (".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".npz")
LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # beside what begins with a dot

_ZIP_MAGICS = (b"PK\3\4", b"PK\5\6")
_GZIP_MAGIC = b"\x1f\x8b"
_UNPACKERS: dict[bytes, Callable[..., Any]] = {_GZIP_MAGIC: gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_DRIVE = re.compile("[A-Za-z]:")
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,  # of gzip and bz2
    ValueError,  # names that are not of their encoding, negative offsets
    RuntimeError,  # compression methods that zipfile lacks
)

Kind = Literal["file", "folder", "other"]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Metered:
    """A stream whose bytes count, unless they did before, and whose faults are the archive's."""

    def __init__(self, stream: Readable, allowance: "Allowance", *, counted: bool = True) -> None:
        self._stream, self._allowance, self._counted = stream, allowance, counted
        self._peeked = b""

    def read(self, size: int) -> bytes:
        data, self._peeked = self._peeked[:size], self._peeked[size:]
        return data + self._next(size - len(data))

    def peek(self, size: int) -> bytes:
        """Look at the next bytes, up to `size`, without taking them from what `read` gives."""
        self._peeked += self._next(size - len(self._peeked))
        return self._peeked[:size]

    def gunzipped(self) -> "Metered":
        """The stream unpacked where it is gzip, else the stream as it is."""
        if self.peek(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
            return self
        return Metered(gzip.GzipFile(fileobj=cast(IO[bytes], self)), self._allowance)

    def _next(self, size: int) -> bytes:
        with _damage():
            data = self._stream.read(size) if size > 0 else b""
        if self._counted:
            self._allowance.spend(len(data))
        return data


@dataclass(frozen=True)
class Member:
    """A regular file of an archive.  `name` is relative and slash-separated, `size` what the archive says it has."""

    name: str
    size: int
    stream: Metered

    def read(self, limit: int) -> bytes:
        """All of it.

        Raises:
            Failure: `file_too_large`, it has more than `limit` bytes; `corrupt_archive`, or fewer than was said.
        """
        if self.size > limit:
            raise Failure("file_too_large", f"{self.name} has {self.size:,} bytes; {limit:,} are the limit.")
        data = self.stream.read(self.size)
        if len(data) != self.size:
            raise _corrupt(f"{self.name} has {len(data)} bytes, not the {self.size} announced")
        return data


class Archive:
    """A zip or a tar (plain, gz, bz2, xz) and what lies in it; a `bare` file, which is neither, is taken for its only
    member.

    `files` and `folders` are the names of what it holds, in its order, hidden files left out.
    """

    def __init__(self, path: Path, entries: "Entries", watch: DiskWatch) -> None:
        self.path, self._entries, self._watch = path, entries, watch
        self.bare = entries is _bare_entry
        listing = _Listing()
        for entry in self._visible():
            listing.add(entry)
        self.files: list[str] = listing.files
        self.folders: list[str] = list(listing.folders)

    def walk(self) -> Iterator[Member]:
        """Yield the archive's files one after another; each is to be read before the next is asked for, or not at
        all."""
        number = 0
        for entry in self._visible():
            if entry.kind == "file":
                yield Member(entry.name, entry.size, entry.stream())
                number += 1
                self._watch.tell(number, len(self.files))

    def read(self, name: str, limit: int) -> bytes:
        """One of its files.

        Raises:
            Failure: see `Member.read`.
            KeyError: there is none of that name.
        """
        for member in self.walk():
            if member.name == name:
                return member.read(limit)
        raise KeyError(name)

    def read_some(self, names: Collection[str], limit: int) -> dict[str, bytes]:
        """Read the files of these names in one walk: as many as have `limit` bytes together, the first of them first.

        Raises:
            Failure: `corrupt_archive`.
        """
        contents: dict[str, bytes] = {}
        for member in self.walk():
            if member.name in names and member.size <= limit:
                contents[member.name] = member.read(limit)
                limit -= member.size
            if len(contents) == len(names):
                break
        return contents

    def allowance(self, packed_bytes: int) -> "Allowance":
        """A limit on what may come out of a file within that is packed itself, and has so many bytes."""
        return Allowance(packed_bytes, self._watch)

    def _visible(self) -> Iterator["ArchiveEntry"]:
        allowance = self.allowance(self.path.stat().st_size)
        for number, entry in enumerate(self._entries(self.path, allowance)):
            if number == MAX_FILES:
                raise _too_many()
            name = _clean(entry.name)
            if entry.kind == "other":
                raise Failure(
                    "special_member",
                    f"{name} is a link or a device: an archive may hold regular files and folders only.",
                )
            if not any(part in LITTER or part.startswith(".") for part in name.split("/")):
                yield entry._replace(name=name)


def open(path: Path, watch: DiskWatch) -> Archive:
    """
    Raises:
        Failure: it is damaged, encrypted, or holds what an archive must not: see docs/api.md.
    """
    with path.open("rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
    if head.startswith(_ZIP_MAGICS):
        return Archive(path, _zip_entries, watch)
    unpack = next((unpack for magic, unpack in _UNPACKERS.items() if head.startswith(magic)), None)
    if unpack is not None:
        with _damage(), unpack(path) as unpacked:
            head = unpacked.read(tarfile.BLOCKSIZE)
    entries = partial(_tar_entries, unpack or Path.open) if _is_tar(head) else _bare_entry
    return Archive(path, entries, watch)


class Allowance:
    """A limit on how many bytes may come out of a file, and the watch that is kept while they do."""

    def __init__(self, packed_bytes: int, watch: DiskWatch) -> None:
        self._left = MAX_BYTES
        self._left_by_ratio = max(HARMLESS_BYTES, MAX_RATIO * packed_bytes)
        self._watch = watch

    def spend(self, count: int) -> None:
        self._watch.checkpoint_or_stop()
        self._left -= count
        self._left_by_ratio -= count
        if self._left_by_ratio < 0:
            raise Failure("archive_bomb", f"The archive unpacks to more than {MAX_RATIO} times its size: no images do.")
        if self._left < 0:
            raise Failure(
                "archive_too_large", f"The archive unpacks to more than {MAX_BYTES:,} bytes: split it, or shrink it."
            )


class ArchiveEntry(NamedTuple):
    """A member as the archive names it, not yet trusted."""

    name: str
    kind: Kind
    size: int
    stream: Callable[[], Metered]


Entries = Callable[[Path, Allowance], Iterator[ArchiveEntry]]


def _zip_entries(path: Path, allowance: Allowance) -> Iterator[ArchiveEntry]:
    with _damage(), path.open("rb") as file:
        _bound_directory(file)
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.flag_bits & 1:
                    raise Failure("encrypted_archive", "The archive is encrypted: pack it without a password.")
                stream = partial(_unzip, archive, info, allowance)
                yield ArchiveEntry(info.orig_filename, _zip_kind(info), info.file_size, stream)


def _bound_directory(file: IO[bytes]) -> None:
    """zipfile reads the whole list of members at once, so its length is looked at first, where zipfile will find it."""
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY_BYTES:  # type: ignore[attr-defined]
        raise _too_many()


def _zip_kind(info: zipfile.ZipInfo) -> Kind:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.orig_filename.endswith(("/", "\\")) and kind in (0, stat.S_IFDIR):
        return "folder"
    return "file" if kind in (0, stat.S_IFREG) else "other"


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowance: Allowance) -> Metered:
    with _damage():
        return Metered(archive.open(info), allowance)


def _tar_entries(unpack: Callable[..., Any], path: Path, allowance: Allowance) -> Iterator[ArchiveEntry]:
    with _damage(), unpack(path, mode="rb") as file:
        unpacked = cast(IO[bytes], Metered(file, allowance))
        with tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_Header) as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or they would all be kept
                stream = partial(_untar, archive, info, allowance)
                yield ArchiveEntry(_readable(info.name), _tar_kind(info), info.size, stream)


class _Header(tarfile.TarInfo):
    """tarfile takes a broken header, or none, for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _tar_kind(info: tarfile.TarInfo) -> Kind:
    if info.isdir():
        return "folder"
    return "file" if info.isreg() and not info.issparse() else "other"  # a hole may be of any size


def _untar(archive: tarfile.TarFile, info: tarfile.TarInfo, allowance: Allowance) -> Metered:
    with _damage():
        return Metered(cast(Readable, archive.extractfile(info)), allowance, counted=False)  # it was, when unpacked


def _bare_entry(path: Path, allowance: Allowance) -> Iterator[ArchiveEntry]:
    with path.open("rb") as file:
        yield ArchiveEntry(BARE, "file", path.stat().st_size, lambda: Metered(file, allowance))


def _is_tar(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


class _Listing:
    """Names, none of them given twice; those that differ in case are two, since nothing comes to a disk."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.folders: dict[str, None] = {}
        self._names: set[str] = set()

    def add(self, entry: ArchiveEntry) -> None:
        if entry.kind == "folder":
            self._add_folder(entry.name)
            return
        if entry.name.lower().endswith(NESTED):
            raise Failure("nested_archive", f"{entry.name} is an archive within the archive: unpack it first.")
        self._add_folder(entry.name.rpartition("/")[0])
        self._claim(entry.name)
        self.files.append(entry.name)

    def _add_folder(self, name: str) -> None:
        while name and name not in self.folders:
            self._claim(name)
            self.folders[name] = None
            name = name.rpartition("/")[0]

    def _claim(self, name: str) -> None:
        if name in self._names:
            raise Failure("ambiguous_names", f"The archive holds {name} twice: leave one of them.")
        self._names.add(name)


def _clean(name: str) -> str:
    """Composed characters (a Mac stores them decomposed), no empty parts, slashes for .NET's backslashes.

    Raises:
        Failure: `unsafe_name`, it leads out of the archive, or is too long.
    """
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name or name.startswith("/") or _DRIVE.match(name):
        raise _unsafe(name, "names must be relative, with slashes, without `..` or a drive")
    if len(name) > MAX_NAME_CHARS:
        raise _unsafe(name, f"names may have {MAX_NAME_CHARS} characters")
    return unicodedata.normalize("NFC", "/".join(parts))


def _readable(name: str) -> str:
    """tarfile keeps bytes that are no UTF-8 as lone surrogates, which cannot be stored."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _corrupt(str(error) or type(error).__name__) from error


def _corrupt(reason: str) -> Failure:
    return Failure("corrupt_archive", f"The archive is damaged or cut short ({reason}): pack it again.")


def _unsafe(name: str, rule: str) -> Failure:
    return Failure("unsafe_name", f"The archive holds {name[:80]!r}: {rule}.")


def _too_many() -> Failure:
    return Failure("too_many_files", f"The archive holds more than {MAX_FILES:,} files: split it.")
