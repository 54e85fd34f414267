"""Content-addressed blobs on obstore, in a local folder or an object store: `sha256/ab/<digest>`, whole or not there.

obstore is not fork-safe: a `Blobs` lives in the API process and in the worker's supervisor, never in a forked child.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from app.core import errors

CHUNK = 1024 * 1024
PART = 5 * CHUNK  # S3 takes no smaller ones
UNFINISHED = "tmp"
TRASH = "trash"
_FULL = ("No space left on device", "quota exceeded")


class Blob(NamedTuple):
    sha256: str
    bytes: int

    def keep(self) -> None:
        """Do nothing: the blob is where it belongs already; see `Staged`."""


class Aged(NamedTuple):
    """A stored blob and the time of its last put, in seconds since 1970 by the store's clock."""

    sha256: str
    put_at: float


class Trashed(NamedTuple):
    """A blob that was thrown away at `at`, whole seconds by the clock of whoever did it."""

    at: int
    sha256: str


class Blobs:
    """`url` names a folder (`file://…`) or a bucket.  `cache` holds local copies of what a bucket has.

    A blob that was thrown away is read like any other until it is erased: whoever asks for it puts it back.

    All methods raise Unavailable where the store cannot be reached.
    """

    def __init__(self, url: str, *, min_free_bytes: int = 0, cache: Path | None = None) -> None:
        self._store = LocalStore.from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
        self._root = self._store.prefix if isinstance(self._store, LocalStore) else None
        self._min_free_bytes = min_free_bytes
        self._cache = cache or Path(tempfile.gettempdir()) / "regraft-blobs"

    def put(self, chunks: Iterable[bytes]) -> Blob:
        """
        Raises:
            StorageFull: fewer than `min_free_bytes` would be left on the disk.
        """
        with self.staging(chunks) as staged:
            return staged.keep()

    def put_file(self, path: Path) -> Blob:
        """A copy of `path`; raises as `put`."""
        with self.staging_file(path) as staged:
            return staged.keep()

    @contextmanager
    def staging(self, chunks: Iterable[bytes]) -> Iterator["Staged"]:
        """All of it, whole and on the disk, but not to be found until it is kept; raises as `put`."""
        with self._writing() as writing:
            with _written():
                for chunk in chunks:
                    writing.add(chunk)
                staged = writing.seal()
            yield staged

    @contextmanager
    def staging_file(self, path: Path) -> Iterator["Staged"]:
        """A copy of `path`, staged."""
        with path.open("rb") as file, self.staging(iter(lambda: file.read(CHUNK), b"")) as staged:
            yield staged

    @asynccontextmanager
    async def receiving(self, body: AsyncIterable[bytes], *, expected: int = 0) -> AsyncIterator["Staged"]:
        """A body that arrives, of `expected` bytes as far as is known, staged; threads hash and write it."""
        with self._writing(expected) as writing:
            with _written():
                async for chunk in _gathered(body):
                    await asyncio.to_thread(writing.add, chunk)
                staged = await asyncio.to_thread(writing.seal)
            yield staged

    async def receive(self, body: AsyncIterable[bytes], *, expected: int = 0) -> Blob:
        """Store a body that arrives, of `expected` bytes as far as is known: staged, then put at once."""
        async with self.receiving(body, expected=expected) as staged:
            return await asyncio.to_thread(staged.keep)

    def read(self, sha256: str) -> Iterator[bytes]:
        """
        Raises:
            BlobLost: there is no such blob.
        """
        with _translated():
            try:
                blob = obstore.get(self._store, _key(sha256))
            except FileNotFoundError:
                self._take_back(sha256)
                blob = obstore.get(self._store, _key(sha256))
            for chunk in blob.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def stream(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""
        for at in range(start, end, CHUNK):
            with _translated():
                chunk = await obstore.get_range_async(self._store, _key(sha256), start=at, end=min(at + CHUNK, end))
            yield bytes(chunk)

    def path(self, sha256: str) -> Path:
        """A local file with the blob's bytes, not to be written to; fetched first where the store is elsewhere.

        Raises:
            BlobLost: there is no such blob.
        """
        path = (self._root / _key(sha256)) if self._root else self._cache / sha256
        if not path.exists():
            if self._root:
                with _translated():
                    self._take_back(sha256)
            else:
                self._fetch(sha256, path)
        return path

    def size(self, sha256: str) -> int:
        """
        Raises:
            BlobLost: there is no such blob.
        """
        with _translated():
            try:
                return int(obstore.head(self._store, _key(sha256))["size"])
            except FileNotFoundError:
                self._take_back(sha256)
                return int(obstore.head(self._store, _key(sha256))["size"])

    @contextmanager
    def reading(self, *sha256s: str) -> Iterator[None]:
        """While the files at their paths are read: what fails because one of them is damaged, is refused as that.

        Raises:
            BlobLost: see `require_sound`.
        """
        try:
            yield
        except errors.RegraftError:
            raise
        except Exception:  # whatever its reader stumbled over
            self.require_sound(*sha256s)
            raise

    def require_sound(self, *sha256s: str) -> None:
        """All of their bytes are read; a local copy of what is stored elsewhere is forgotten, and fetched again.

        Raises:
            BlobLost: one of them is gone, or has other bytes than those that were put.
        """
        for sha256 in sha256s:
            if self._root is None:
                (self._cache / sha256).unlink(missing_ok=True)
            digest = hashlib.sha256()
            for chunk in self.read(sha256):
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise errors.BlobLost

    def put_at(self, sha256: str) -> float | None:
        """The time of the blob's last put, see `Aged`; None where there is no such blob."""
        with _translated(), suppress(FileNotFoundError):
            return float(obstore.head(self._store, _key(sha256))["last_modified"].timestamp())
        return None

    def throw_away(self, sha256: str, at: int) -> None:
        """Harmless where there is no such blob.

        Nothing is lost if it was put again at this very moment: what is in the trash can still be read.
        """
        with _translated(), suppress(FileNotFoundError):
            obstore.rename(self._store, _key(sha256), _trash_key(Trashed(at, sha256)), overwrite=True)

    def delete(self, sha256: str) -> None:
        """Delete the blob at once, for good.  Only for what nobody else can come to mention; harmless where there is no
        such blob."""
        with _translated(), suppress(FileNotFoundError):
            obstore.delete(self._store, _key(sha256))
        with suppress(OSError):
            (self._cache / sha256).unlink()

    def restore(self, thrown_away: Trashed) -> None:
        """Harmless where it is not in the trash any more."""
        with _translated(), suppress(FileNotFoundError):
            obstore.rename(self._store, _trash_key(thrown_away), _key(thrown_away.sha256), overwrite=True)

    def erase(self, thrown_away: Trashed) -> None:
        """Delete the blob from the trash for good; harmless where it is not there any more."""
        with _translated(), suppress(FileNotFoundError):
            obstore.delete(self._store, _trash_key(thrown_away))

    def trash(self) -> Iterator[Trashed]:
        """All that was thrown away and neither restored nor erased."""
        with _translated():
            for page in obstore.list(self._store, TRASH, chunk_size=1000):
                for meta in page:
                    _, at, sha256 = meta["path"].split("/")
                    yield Trashed(int(at), sha256)
            for folder in self._root.glob(f"{TRASH}/*") if self._root else ():
                with suppress(OSError):  # it is not empty
                    folder.rmdir()

    def now(self) -> float:
        """The time by the store's clock, see `Aged`: that of its file system's host, or of the bucket's server."""
        with _translated():
            if self._root:  # a folder's time can be set on a full disk, too
                folder = self._root / UNFINISHED
                folder.mkdir(exist_ok=True)
                os.utime(folder)
                return folder.stat().st_mtime
            key = f"{UNFINISHED}/{secrets.token_hex(16)}"
            obstore.put(self._store, key, b"")
            head = obstore.head(self._store, key)
            obstore.delete(self._store, key)
            return float(head["last_modified"].timestamp())

    def list(self) -> Iterator[Aged]:
        """Every blob, in no order."""
        with _translated():
            for page in obstore.list(self._store, "sha256", chunk_size=1000):
                for meta in page:
                    yield Aged(meta["path"].rpartition("/")[2], meta["last_modified"].timestamp())

    def delete_unfinished(self, before: float) -> None:
        """Remove what writers left behind that were killed before the time `before`, see `Aged`.

        Where the store is a bucket, a lifecycle rule of its own has to abort the unfinished multipart uploads.
        """
        for path in (self._root / UNFINISHED).glob("*") if self._root else ():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def check(self) -> None:
        """
        Raises:
            Unavailable: blobs can be neither read nor written just now.
        """
        with _translated():
            if self._root and not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(self._root)
            next(iter(obstore.list(self._store, UNFINISHED, chunk_size=1)), None)

    def require_room(self, size: int) -> None:
        """
        Raises:
            StorageFull: fewer than `min_free_bytes` would be left on the disk after `size` more.
        """
        if self._root and shutil.disk_usage(self._root).free < self._min_free_bytes + size:
            raise errors.StorageFull

    @contextmanager
    def _writing(self, expected: int = 0) -> Iterator["_Writing"]:
        self.require_room(expected)
        writing = _Writing(self, self._store, self._root)
        try:
            yield writing
        finally:
            writing.abandon()  # whatever stopped us, neither half of it stays nor what nobody keeps

    def _take_back(self, sha256: str) -> None:
        """Restore what is needed after all.

        Raises:
            FileNotFoundError: it was not thrown away, or has been erased.
        """
        thrown_away = next((each for each in self.trash() if each.sha256 == sha256), None)
        if thrown_away is None:
            raise FileNotFoundError(_key(sha256))
        self.restore(thrown_away)

    def _fetch(self, sha256: str, path: Path) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._cache, delete=False) as file:
            try:
                file.writelines(self.read(sha256))
                Path(file.name).rename(path)
            except BaseException:
                Path(file.name).unlink()
                raise


class _Writing:
    """One blob on its way in, under a key of its own until it is whole."""

    def __init__(self, blobs: Blobs, store: "obstore.store.ObjectStore", root: Path | None) -> None:
        self._blobs, self._store, self._root = blobs, store, root
        self._key = f"{UNFINISHED}/{secrets.token_hex(16)}"
        buffer = CHUNK if root else PART
        self._writer = obstore.open_writer(store, self._key, buffer_size=buffer, max_concurrency=2)
        self._sha256 = hashlib.sha256()
        self._bytes = 0
        self._staged: Staged | None = None
        self._kept = False

    def add(self, chunk: bytes) -> None:
        self._blobs.require_room(len(chunk))
        self._bytes += len(chunk)
        self._sha256.update(chunk)
        self._writer.write(chunk)

    def seal(self) -> "Staged":
        self._writer.close()
        if self._root:
            _sync(self._root / self._key)
        self._staged = Staged(self, self._sha256.hexdigest(), self._bytes)
        return self._staged

    def abandon(self) -> None:
        """Harmless once it is kept."""
        if self._staged is None:
            del self._writer  # with it goes what it has written
        elif not self._kept:
            with suppress(OSError, BaseError):  # the sweep will
                obstore.delete(self._store, self._key)

    def keep(self, blob: Blob) -> None:
        """Moved even where the blob is there already: a sweep must see that it was put just now."""
        if not self._kept:
            with _written():
                self._move(_key(blob.sha256))
        self._kept = True

    def _move(self, key: str) -> None:
        obstore.rename(self._store, self._key, key, overwrite=True)
        if self._root:
            _sync((self._root / key).parent)
            _sync((self._root / key).parent.parent)


class Staged:
    """A blob that is whole and on the disk, and gone when whoever stages it leaves without having kept it.

    It is kept by the transaction that writes the row which mentions it, last of all: what is refused leaves nothing.
    """

    def __init__(self, writing: _Writing, sha256: str, bytes: int) -> None:
        self.sha256, self.bytes = sha256, bytes
        self._writing = writing

    def keep(self) -> Blob:
        """Put it where it is found; harmless when it is there.  Raises as `Blobs.put`."""
        blob = Blob(self.sha256, self.bytes)
        self._writing.keep(blob)
        return blob


async def _gathered(body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Chunks of about `CHUNK` bytes or more, so that each is worth a thread."""
    pieces, size = [], 0
    async for piece in body:
        pieces.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join(pieces)


@contextmanager
def _translated() -> Iterator[None]:
    """The store's own troubles as ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise errors.BlobLost from error
    except (OSError, BaseError) as error:
        if any(words in str(error) for words in _FULL):
            raise errors.StorageFull from error
        raise errors.Unavailable("The blob storage cannot answer just now.", retry_after_s=1) from error


@contextmanager
def _written() -> Iterator[None]:
    """The store's own troubles as ours while a blob is written, of which nothing can be lost yet."""
    with _translated():
        try:
            yield
        except FileNotFoundError as error:  # what is being written was removed
            raise errors.Unavailable("The blob could not be written.", retry_after_s=1) from error


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"


def _trash_key(thrown_away: Trashed) -> str:
    return f"{TRASH}/{thrown_away.at}/{thrown_away.sha256}"


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
