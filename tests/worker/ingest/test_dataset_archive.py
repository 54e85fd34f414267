"""Archives: the kinds that are read, and every trick that is refused."""

import io
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.archives import encoded, examples, folders, tarred, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal
from worker.ingest import archive

IMAGE = encoded(examples(1, 1, (8, 8, 3)).images[0])
GOOD = folders(examples(40, 2, (8, 8, 3)), ["cat", "dog"])
PARQUET = b"PAR1" + bytes(600) + b"PAR1"


def header(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_entry(name: str, content: bytes = IMAGE, mode: int = 0, **fields: int) -> bytes:
    """The good archive and one member more, whose mode and flags are given."""
    buffer = io.BytesIO(zipped(GOOD))
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.filename = info.orig_filename = name  # `ZipInfo` tidies names up
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_archive_gives_the_same_dataset(ingest: Ingest, compression: str, format: int) -> None:
    from_zip = ingest(zipped(GOOD)).document
    assert from_zip["splits"] == {"train": 28, "validation": 4, "test": 8}
    assert ingest(tarred(GOOD, compression, format)).document == from_zip


def test_the_order_within_the_archive_does_not_matter(ingest: Ingest) -> None:
    backwards = dict(reversed(GOOD.items()))
    assert ingest(tarred(backwards, "gz")).document == ingest(zipped(GOOD)).document


def test_a_tar_of_a_folder_begins_with_a_dot(ingest: Ingest) -> None:
    members = {f"./data/{name}": content for name, content in GOOD.items()}
    assert ingest(tarred(members)).document == ingest(zipped(GOOD)).document


def test_long_names_are_read(ingest: Ingest) -> None:
    members = {f"{'folder' * 15}/{'nested' * 15}/{name}": content for name, content in GOOD.items()}
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert ingest(tarred(members, format=format)).document["classes"] == ["cat", "dog"]


def test_what_systems_leave_behind_is_passed_over(ingest: Ingest) -> None:
    litter = ("__MACOSX/cat/._0000.png", ".DS_Store", "cat/.DS_Store", "cat/._0000.png", "dog/Thumbs.db", ".git/HEAD")
    found = ingest(zipped(GOOD | dict.fromkeys(litter, b"litter"))).document
    assert found == ingest(zipped(GOOD)).document
    assert found["refused"] == []


def test_names_of_a_mac_and_of_others_are_one(ingest: Ingest) -> None:
    """é as one character, or as e and an accent."""
    composed = {name.replace("cat", "caf\u00e9"): content for name, content in GOOD.items()}
    decomposed = {name.replace("cat", "cafe\u0301"): content for name, content in GOOD.items()}
    assert ingest(zipped(composed)).document == ingest(zipped(decomposed)).document


def test_names_that_are_no_utf8_can_be_stored(ingest: Ingest) -> None:
    data = patched(
        tarred(GOOD | {"cat/zz\u00e9\u00e9.png": b"no image"}), "zz\u00e9\u00e9".encode(), b"zz\xe9\xff\xfe\xfd"
    )
    checked = bytearray(data)
    start = data.index(b"cat/zz")
    checked[start + 148 : start + 156] = b" " * 8
    checked[start + 148 : start + 155] = b"%06o\0" % sum(checked[start : start + 512])
    [refused] = ingest(bytes(checked)).document["refused"]
    assert refused["name"].encode() == "cat/zz\ufffd\ufffd\ufffd\ufffd.png".encode()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG" + bytes(600), IMAGE, bytes(5000), b"PK", b"\x1f\x8b"])
@pytest.mark.parametrize("format", ["auto", "folder", "csv", "npz", "cifar10", "cifar100"])
def test_what_is_no_archive(tmp_path: Path, data: bytes, format: str) -> None:
    assert refusal(tmp_path, data, format=format).code in ("not_an_archive", "corrupt_archive")


@pytest.mark.parametrize("data", [PARQUET, zipped({"data/train-00000-of-00001.parquet": PARQUET, "README.md": b"#"})])
def test_parquet_that_is_none(tmp_path: Path, data: bytes) -> None:
    failure = refusal(tmp_path, data)
    assert failure.code == "corrupt_archive"
    assert "Parquet" in failure.message


def test_parquet_beside_images_is_no_harm(ingest: Ingest) -> None:
    assert ingest(zipped(GOOD | {"boxes.parquet": PARQUET})).document["format"] == "folder"


@pytest.mark.parametrize("data", [zipped({}), tarred({}), tarred({}, "gz"), zipped({".DS_Store": b""})])
def test_an_empty_archive(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path, data).code in ("no_images", "not_an_archive")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2", "xz"])
def test_an_archive_cut_short(tmp_path: Path, kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 20, 20, 3), np.uint8)
    members = {f"{'ab'[i % 2]}/{i}.png": encoded(image) for i, image in enumerate(noise)}
    data = zipped(members) if kind == "zip" else tarred(members, kind.removeprefix("tar"))
    data = data.rstrip(b"\0") if kind == "tar" else data
    failure = refusal(tmp_path, data[: int(len(data) * part)])
    assert failure.code == "corrupt_archive"


@pytest.mark.parametrize("cut", [512, 700, 1024])
def test_a_tar_that_breaks_off_between_members_or_in_a_header(tmp_path: Path, cut: int) -> None:
    member = 512 + 512 * -(-len(IMAGE) // 512)
    data = tarred({f"{label}/{number}.png": IMAGE for label in "ab" for number in range(20)})
    assert refusal(tmp_path, data[: 10 * member + cut - 512]).code == "corrupt_archive"


def test_a_broken_header_is_not_the_end(tmp_path: Path) -> None:
    data = patched(tarred(GOOD), b"cat/0020.png", b"cat/0O20.png")  # its checksum is wrong now
    assert refusal(tmp_path, data).code == "corrupt_archive"


def test_a_flipped_bit(tmp_path: Path) -> None:
    data = bytearray(zipped(GOOD, zipfile.ZIP_STORED))
    data[data.index(b"IDAT") + 9] ^= 1
    assert refusal(tmp_path, bytes(data)).code == "corrupt_archive"


def test_an_encrypted_archive(tmp_path: Path) -> None:
    data = bytearray(zipped(GOOD))
    data[data.index(b"PK\1\2") + 8] |= 1
    assert refusal(tmp_path, bytes(data)).code == "encrypted_archive"


@pytest.mark.parametrize(
    "name",
    [
        "../cat/x.png",
        "cat/../../x.png",
        "/etc/x.png",
        "//host/x.png",
        "..\\x.png",
        "cat\\..\\..\\x.png",
        "\\x.png",
        "\\\\host\\x.png",
        "C:\\x.png",
        "C:/x.png",
        "c:x.png",
        "x" * 10**4,
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    for number, data in enumerate((zip_entry(name), tarred(GOOD | {name: IMAGE}, "gz"))):
        assert refusal(tmp_path / str(number), data).code == "unsafe_name"


def test_a_name_with_a_zero_byte(tmp_path: Path) -> None:
    data = patched(zipped(GOOD | {"cat/x!png": IMAGE}), b"cat/x!png", b"cat/x\0png")
    assert refusal(tmp_path, data).code == "unsafe_name"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=str
)
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in GOOD.items():
            info = header(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.addfile(header("cat/link.png", kind, "/etc/passwd"))
    assert refusal(tmp_path, buffer.getvalue()).code == "special_member"


def test_a_tar_with_holes(tmp_path: Path) -> None:
    """A sparse member of 512 bytes that claims eight gigabytes."""
    info = header("cat/huge.png", tarfile.GNUTYPE_SPARSE)
    info.size = 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 512)  # one piece of data, at the beginning
    block[483:495] = b"%011o\0" % (8 * 2**30 - 1)  # the size with the hole after it
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    assert refusal(tmp_path, bytes(block) + bytes(512) + tarred(GOOD)).code == "special_member"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip(tmp_path: Path, kind: int) -> None:
    assert refusal(tmp_path, zip_entry("cat/link.png", b"/etc/passwd", mode=kind | 0o777)).code == "special_member"


def test_backslashes_of_dotnet_are_folders(ingest: Ingest) -> None:
    """Its zips before .NET 4.6.1 have them, and a member for each folder."""
    windows = zipped({})
    for name, content in {"cat/": b"", "dog/": b"", **GOOD}.items():
        buffer = io.BytesIO(windows)
        with zipfile.ZipFile(buffer, "a") as archive:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name.replace("/", "\\")
            archive.writestr(info, content)
        windows = buffer.getvalue()
    assert b"cat\\0000.png" in windows
    assert ingest(windows).document == ingest(zipped(GOOD)).document


def test_names_that_differ_in_case_are_two(ingest: Ingest) -> None:
    """As on Linux, where such archives are packed: nothing is unpacked to a disk that could confuse them."""
    other = encoded(examples(1, 1, (8, 8, 3), seed=5).images[0])
    for data in (zip_entry("cat/0000.PNG", other), tarred(GOOD | {"cat/0000.PNG": other})):
        found = ingest(data)
        assert len(found.images) == 41
        assert found.document["classes"] == ["cat", "dog"]


@pytest.mark.parametrize("name", ["cat//0000.png", "cat\\0000.png", "cat"])
def test_names_that_stand_twice(tmp_path: Path, name: str) -> None:
    for number, data in enumerate((zip_entry(name), tarred(GOOD | {name: IMAGE}))):
        assert refusal(tmp_path / str(number), data).code == "ambiguous_names"


@pytest.mark.parametrize("name", ["more.zip", "cat/more.tar.gz", "more.TGZ", "more.7z", "more.npz"])
def test_archives_within_archives(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, zipped(GOOD | {name: zipped(GOOD)})).code == "nested_archive"


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
def test_bombs(tmp_path: Path, kind: str) -> None:
    members = GOOD | {"cat/zero.png": bytes(30_000_000)}
    data = zipped(members) if kind == "zip" else tarred(members, kind)
    assert len(data) * archive.MAX_RATIO < 30_000_000
    assert refusal(tmp_path, data).code == "archive_bomb"


def test_a_bomb_of_one_stream_that_many_members_share(tmp_path: Path) -> None:
    """Members that overlap: each is harmless, all together are not."""
    content = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = content.compress(bytes(1_000_000)) + content.flush()
    local = struct.pack(
        "<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, zlib.crc32(bytes(1_000_000)), len(stream), 10**6, 1, 0
    )
    entry = struct.pack(
        "<4sHHHHHHIIIHHHHHII",
        b"PK\1\2",
        20,
        20,
        0,
        8,
        0,
        0,
        zlib.crc32(bytes(10**6)),
        len(stream),
        10**6,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
    )
    directory = b"".join(entry + bytes([name]) for name in range(97, 123))
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 26, 26, len(directory), len(local) + 1 + len(stream), 0)
    data = local + b"a" + stream + directory + end
    assert refusal(tmp_path, data, labelled=False).code in ("archive_bomb", "corrupt_archive")


@pytest.mark.parametrize("claimed", [10, 10**6])
def test_a_size_that_lies(tmp_path: Path, claimed: int) -> None:
    data = bytearray(zipped({"cat/a.png": IMAGE, "dog/a.png": IMAGE}, zipfile.ZIP_DEFLATED))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, claimed)
    assert refusal(tmp_path, bytes(data)).code == "corrupt_archive"


def test_a_tar_whose_member_claims_more_than_there_is(tmp_path: Path) -> None:
    info = header("cat/a.png")
    info.size = 10**9
    assert refusal(tmp_path, info.tobuf() + bytes(1024)).code in ("corrupt_archive", "archive_bomb")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 39)
    for number, data in enumerate((zipped(GOOD), tarred(GOOD))):
        assert refusal(tmp_path / str(number), data).code == "too_many_files"


def test_too_long_a_list_of_members_is_not_read_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(GOOD)
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 1000)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert refusal(tmp_path, data).code == "too_many_files"


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 5000)
    for number, data in enumerate((zipped(GOOD), tarred(GOOD, "gz"))):
        assert refusal(tmp_path / str(number), data).code == "archive_too_large"


def test_nothing_is_unpacked(tmp_path: Path, ingest: Ingest) -> None:
    ingest(zipped(GOOD))
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"blob", "pixels.bin", "index.npz"}
