"""Blobs: whole under their digest or not there, in a folder and in a store that is none."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.blobs.store import CHUNK, PART, Blobs, Trashed
from app.core import errors
from tests.services import until

CONTENT = os.urandom(3 * CHUNK + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a folder"


@pytest.fixture(params=["folder", "memory"])
def blobs(request, folder, tmp_path):
    return Blobs(folder.as_uri() if request.param == "folder" else "memory:///", cache=tmp_path / "cache")


def pieces(content, size):
    return (content[at : at + size] for at in range(0, len(content), size))


async def arriving(content, size=64 * 1024):
    for piece in pieces(content, size):
        await asyncio.sleep(0)
        yield piece


async def streamed(blobs, start, end):
    return b"".join([piece async for piece in blobs.stream(SHA256, start, end)])


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [1000, CHUNK, 10 * CHUNK])
def test_what_is_put_is_read(blobs, size):
    assert blobs.put(pieces(CONTENT, size)) == (SHA256, len(CONTENT))
    assert b"".join(blobs.read(SHA256)) == CONTENT
    assert blobs.path(SHA256).read_bytes() == CONTENT
    assert blobs.path(SHA256).read_bytes() == CONTENT  # from the cache
    assert blobs.size(SHA256) == len(CONTENT)
    assert [aged.sha256 for aged in blobs.list()] == [SHA256]


def test_what_fails_because_of_damage_is_refused_as_that(blobs, folder):
    blobs.put([CONTENT])
    other = blobs.put([b"sound"]).sha256
    with pytest.raises(ValueError, match="by itself"), blobs.reading(SHA256, other):
        raise ValueError("by itself")
    path = blobs.path(SHA256)
    path.write_bytes(CONTENT[:-1])
    with blobs.reading(other, SHA256):
        pass  # nobody has stumbled over it
    with pytest.raises(errors.NotServable), blobs.reading(other, SHA256):
        raise errors.NotServable
    if path.is_relative_to(folder):
        with pytest.raises(errors.BlobLost, match="damaged"), blobs.reading(other, SHA256):
            raise ValueError("no such format")
    else:  # a local copy: the next one is sound
        with pytest.raises(ValueError, match="no such format"), blobs.reading(other, SHA256):
            raise ValueError("no such format")
        assert blobs.path(SHA256).read_bytes() == CONTENT


def test_a_body_as_it_arrives(blobs):
    assert asyncio.run(blobs.receive(arriving(CONTENT))) == (SHA256, len(CONTENT))
    assert b"".join(blobs.read(SHA256)) == CONTENT


def test_a_file(blobs, tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    assert blobs.put_file(tmp_path / "source").sha256 == SHA256
    assert (tmp_path / "source").exists()


def test_ranges(blobs):
    blobs.put([CONTENT])
    for start, end in ((0, 0), (0, 1), (5, CHUNK + 5), (CHUNK - 1, len(CONTENT)), (0, len(CONTENT))):
        assert asyncio.run(streamed(blobs, start, end)) == CONTENT[start:end]


def test_nothing_there(blobs):
    assert blobs.put_at(SHA256) is None
    assert list(blobs.list()) == []
    blobs.throw_away(SHA256, 1)
    for look in (blobs.path, blobs.size, lambda sha256: list(blobs.read(sha256))):
        with pytest.raises(errors.BlobLost):
            look(SHA256)


@pytest.mark.parametrize(
    ("look", "seen"),
    [
        (lambda blobs: blobs.path(SHA256).read_bytes(), CONTENT),
        (lambda blobs: blobs.size(SHA256), len(CONTENT)),
        (lambda blobs: b"".join(blobs.read(SHA256)), CONTENT),
    ],
    ids=["path", "size", "read"],
)
def test_what_was_thrown_away_comes_back_when_it_is_asked_for(blobs, look, seen):
    blobs.put([CONTENT])
    blobs.throw_away(SHA256, 7)
    assert blobs.put_at(SHA256) is None
    assert list(blobs.list()) == []
    assert list(blobs.trash()) == [(7, SHA256)]
    assert look(blobs) == seen
    assert list(blobs.trash()) == []
    assert [aged.sha256 for aged in blobs.list()] == [SHA256]


def test_what_was_erased_is_gone(blobs):
    blobs.put([CONTENT])
    blobs.throw_away(SHA256, 7)
    for _ in range(2):
        blobs.erase(Trashed(7, SHA256))
    assert list(blobs.trash()) == []
    with pytest.raises(errors.BlobLost):
        blobs.size(SHA256)


def test_the_stores_own_clock(blobs):
    before = blobs.now()
    blobs.put([CONTENT])
    assert before - 2 <= blobs.put_at(SHA256) <= blobs.now() + 2


def test_empty(blobs):
    assert blobs.put([]) == (hashlib.sha256().hexdigest(), 0)
    assert blobs.path(hashlib.sha256().hexdigest()).read_bytes() == b""


def test_put_again_counts_as_put_just_now(folder):
    blobs = Blobs(folder.as_uri())
    blobs.put([CONTENT])
    os.utime(blobs.path(SHA256), (1, 1))
    assert blobs.put_at(SHA256) == 1
    blobs.put([CONTENT])
    assert blobs.put_at(SHA256) > time.time() - 60


@pytest.mark.parametrize("size", [CHUNK, 2 * PART])
def test_a_source_that_breaks_leaves_nothing(folder, size):
    blobs = Blobs(folder.as_uri())

    def broken():
        yield bytes(size)
        raise ConnectionResetError

    async def breaking():
        for piece in broken():
            yield piece

    with pytest.raises(errors.Unavailable):
        blobs.put(broken())
    with pytest.raises(errors.Unavailable):
        asyncio.run(blobs.receive(breaking()))
    assert files(folder) == []


def test_whoever_puts_the_same_at_once_puts_one(folder):
    blobs = Blobs(folder.as_uri())
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: blobs.put(pieces(CONTENT, CHUNK)).sha256, range(16)))
    assert digests == {SHA256}
    assert files(folder) == [f"sha256/{SHA256[:2]}/{SHA256}"]


def test_room_is_left(folder):
    blobs = Blobs(folder.as_uri(), min_free_bytes=2**60)
    with pytest.raises(errors.StorageFull):
        blobs.put([CONTENT])
    with pytest.raises(errors.StorageFull):
        asyncio.run(Blobs(folder.as_uri()).receive(arriving(CONTENT), expected=2**60))
    assert files(folder) == []


def test_a_disk_that_is_full(tmp_path):
    """The real thing: a file system of 12 MiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        blobs = Blobs((tmp_path / "blobs").as_uri())
        with pytest.raises(errors.StorageFull):
            blobs.put(bytes(CHUNK) for _ in range(20))
        until(lambda: shutil.disk_usage(tmp_path).free > 11 * CHUNK, 5)  # obstore tidies up behind our back
        assert files(tmp_path / "blobs") == []
        (tmp_path / "filler").write_bytes(bytes(2 * CHUNK))
        with pytest.raises(errors.StorageFull):
            Blobs((tmp_path / "blobs").as_uri(), min_free_bytes=-(2**40)).put(bytes(CHUNK) for _ in range(20))
        until(lambda: files(tmp_path / "blobs") == [], 5)
        assert blobs.put([CONTENT]).sha256 == SHA256
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)  # obstore may still hold a file open


def test_a_writer_that_is_killed_leaves_no_blob(folder):
    """What it leaves is not under a digest, and is tidied up."""
    script = f"""
import os
from app.blobs.store import Blobs
def cut_short():
    yield bytes({2 * PART})
    os.kill(os.getpid(), 9)
    yield b""
Blobs({folder.as_uri()!r}).put(cut_short())
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    blobs = Blobs(folder.as_uri())
    assert list(blobs.list()) == []
    assert len(files(folder)) == 1
    blobs.delete_unfinished(time.time() - 60)
    assert len(files(folder)) == 1
    blobs.delete_unfinished(time.time() + 60)
    assert files(folder) == []


def test_a_store_that_is_away(folder):
    blobs = Blobs(folder.as_uri())
    blobs.check()
    folder.rename(folder.parent / "elsewhere")
    with pytest.raises(errors.Unavailable):
        blobs.check()
