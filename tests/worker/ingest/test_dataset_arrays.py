"""IDX and npz: arrays of images and of labels, and headers that lie about them."""

import gzip
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import Examples, encoded, examples, idx, idx_pair, npz, tarred, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal

TRAIN = examples(60, 3, (6, 5, 1))
TEST = examples(30, 3, (6, 5, 1), seed=1)
COLOUR = examples(60, 3, (6, 5, 3))


def same(found: Any, rows: slice, data: Examples) -> bool:
    chosen = range(*rows.indices(len(found.images)))
    return all(np.array_equal(found.images[row], image) for row, image in zip(chosen, data.images, strict=True))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("pack", [zipped, tarred, lambda members: tarred(members, "gz")], ids=["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("root", ["", "MNIST/raw/"])
def test_idx_as_mnist_has_it(ingest: Ingest, compress: bool, pack: Any, root: str) -> None:
    members = idx_pair(TEST, "t10k", compress) | idx_pair(TRAIN, "train", compress)
    found = ingest(pack({root + name: content for name, content in members.items()}))
    assert found.document["format"] == "idx"
    assert found.document["classes"] == ["0", "1", "2"]
    assert found.document["image"] == {"height": 6, "width": 5, "channels": 1}
    assert found.document["splits"] == {"train": 51, "validation": 9, "test": 30}
    assert same(found, slice(0, 60), TRAIN)
    assert same(found, slice(60, 90), TEST)
    assert found.images.label.tolist() == [*TRAIN.labels, *TEST.labels]


def test_idx_of_train_files_alone_gets_all_splits(ingest: Ingest) -> None:
    assert ingest(zipped(idx_pair(TRAIN))).document["splits"] == {"train": 42, "validation": 6, "test": 12}


def test_idx_of_other_names(ingest: Ingest) -> None:
    pair = {"faces.idx3-ubyte": idx(TRAIN.images[:, :, :, 0]), "names.idx1-ubyte": idx(TRAIN.labels.astype(np.uint8))}
    expected = ingest(zipped(idx_pair(TRAIN))).document
    assert ingest(zipped(pair)).document == expected
    emnist = {f"emnist-letters-{name}": content for name, content in idx_pair(TRAIN).items()}
    assert ingest(zipped(emnist)).document == expected
    dotted = {name.replace("-idx", ".idx"): content for name, content in idx_pair(TRAIN, compress=False).items()}
    assert ingest(zipped(dotted)).document == expected


def test_idx_in_colour(ingest: Ingest) -> None:
    members = {"a-images-idx4-ubyte": idx(COLOUR.images), "a-labels-idx1-ubyte": idx(COLOUR.labels.astype(np.uint8))}
    found = ingest(zipped(members))
    assert found.document["image"] == {"height": 6, "width": 5, "channels": 3}
    assert same(found, slice(0, 60), COLOUR)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("format", ["auto", "idx"])
def test_a_bare_idx_file_is_unlabelled(ingest: Ingest, tmp_path: Path, pack: Any, format: str) -> None:
    data = pack(idx(TRAIN.images[:, :, :, 0]))
    found = ingest(data, format=format, labelled=False)
    assert found.document["format"] == "idx"
    assert same(found, slice(0, 60), TRAIN)
    assert refusal(tmp_path / "labelled", data, format=format).code == "no_labels"


def test_files_beside_idx_are_refused(ingest: Ingest) -> None:
    found = ingest(zipped(idx_pair(TRAIN) | {"readme.txt": b"MNIST", "cover.png": encoded(TRAIN.images[0])}))
    assert [entry["name"] for entry in found.document["refused"]] == ["readme.txt", "cover.png"]


@pytest.mark.parametrize(
    ("images", "code"),
    [
        (b"\0\0\x08\x03", "bad_array"),
        (idx(TRAIN.images[:, :, :, 0])[:-1], "bad_array"),
        (idx(TRAIN.images[:, :, :, 0]) + b"\0", "bad_array"),
        (b"\0\0\x0d\x03" + idx(TRAIN.images[:, :, :, 0])[4:], "bad_array"),
        (b"\0\0\x08\x02" + idx(TRAIN.images[:, :, :, 0])[4:], "bad_array"),
        (struct.pack(">HBBIII", 0, 8, 3, 0, 6, 5), "bad_array"),
        (struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "bad_array"),
        (struct.pack(">HBBIII", 0, 8, 3, 4, 0, 5), "bad_array"),
        (struct.pack(">HBBIIII", 0, 8, 4, 2, 1, 1, 2) + bytes(4), "bad_array"),
        (idx(TRAIN.images[:50, :, :, 0]), "labels_mismatch"),
        (b"no idx", "no_images"),
    ],
)
def test_idx_files_that_cannot_be_read(tmp_path: Path, images: bytes, code: str) -> None:
    members = idx_pair(TRAIN, compress=False) | {"train-images-idx3-ubyte": images}
    assert refusal(tmp_path, zipped(members)).code == code


def test_idx_with_two_files_of_a_kind(tmp_path: Path) -> None:
    failure = refusal(tmp_path, zipped(idx_pair(TRAIN) | idx_pair(TRAIN, compress=False)))
    assert failure.code == "two_arrays"


def test_idx_labels_alone(tmp_path: Path) -> None:
    members = idx_pair(TRAIN)
    del members["train-images-idx3-ubyte.gz"]
    assert refusal(tmp_path, zipped(members)).code == "no_images"


def test_a_gz_bomb_within_an_archive(tmp_path: Path) -> None:
    """The member is small and packs badly; what it unpacks to does not."""
    header = struct.pack(">HBBIII", 0, 8, 3, 30_000, 32, 32)
    bomb = gzip.compress(header + bytes(30_000 * 32 * 32))
    assert refusal(tmp_path, zipped({"train-images-idx3-ubyte.gz": bomb}), labelled=False).code == "archive_bomb"


def test_a_broken_gz_within_an_archive(tmp_path: Path) -> None:
    members = idx_pair(TRAIN)
    members["train-images-idx3-ubyte.gz"] = members["train-images-idx3-ubyte.gz"][:-20]
    assert refusal(tmp_path, zipped(members, zipfile.ZIP_STORED)).code == "corrupt_archive"


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.dtype(">i2"), np.uint64])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_npz(ingest: Ingest, dtype: Any, shape: tuple[int, ...]) -> None:
    found = ingest(npz(images=COLOUR.images, labels=COLOUR.labels.astype(dtype).reshape(shape)))
    assert found.document["format"] == "npz"
    assert found.document["classes"] == ["0", "1", "2"]
    assert found.document["splits"] == {"train": 42, "validation": 6, "test": 12}
    assert same(found, slice(0, 60), COLOUR)
    assert found.images.label.tolist() == COLOUR.labels.tolist()


@pytest.mark.parametrize("images", [TRAIN.images, TRAIN.images[:, :, :, 0]], ids=["N,H,W,1", "N,H,W"])
def test_npz_in_grey(ingest: Ingest, images: np.ndarray) -> None:
    found = ingest(npz(images=images, labels=TRAIN.labels))
    assert found.document == ingest(zipped(idx_pair(TRAIN))).document | {"format": "npz"}


@pytest.mark.parametrize("names", ["{}_{}", "{1}_{0}"])
def test_npz_with_splits(ingest: Ingest, names: str) -> None:
    arrays = {}
    for split, data in (("test", TEST), ("train", TRAIN)):
        arrays |= {names.format(split, "images"): data.images, names.format(split, "labels"): data.labels}
    found = ingest(npz(**arrays))
    assert found.document["splits"] == {"train": 51, "validation": 9, "test": 30}
    assert same(found, slice(0, 60), TRAIN)


def test_npz_as_keras_and_medmnist_have_it(ingest: Ingest) -> None:
    keras = npz(x_train=TRAIN.images, y_train=TRAIN.labels, x_test=TEST.images, y_test=TEST.labels)
    assert ingest(keras).document["splits"] == {"train": 51, "validation": 9, "test": 30}
    parts = {"train": TRAIN, "val": TEST, "test": TEST}
    images = {f"{split}_images": data.images for split, data in parts.items()}
    labels = {f"{split}_labels": data.labels[:, None].astype(np.uint8) for split, data in parts.items()}
    assert ingest(npz(**images, **labels)).document["splits"] == {"train": 60, "validation": 30, "test": 30}


@pytest.mark.parametrize("keys", [("arr_0", "arr_1"), ("arr_1", "arr_0"), ("data", "target"), ("X", "Y")])
def test_npz_with_the_keys_of_notebooks(ingest: Ingest, keys: tuple[str, str]) -> None:
    """`arr_…` is what `savez` calls arrays without names: the images are those with more than two dimensions."""
    found = ingest(npz(**dict(zip(keys, (COLOUR.images, COLOUR.labels), strict=True))))
    assert found.document == ingest(npz(images=COLOUR.images, labels=COLOUR.labels)).document
    parts = {
        f"{split}_{key}": array
        for split in ("train", "test")
        for key, array in (("X", TEST.images), ("Y", TEST.labels))
    }
    assert ingest(npz(**parts)).document["splits"]["test"] == 30


@pytest.mark.parametrize("keys", [("pics", "cls"), ("arr_0", "arr_2"), ("images", "cls")])
def test_npz_with_other_keys_is_refused_by_what_is_wanted_and_what_is_there(
    tmp_path: Path, keys: tuple[str, str]
) -> None:
    failure = refusal(tmp_path, npz(**dict(zip(keys, (COLOUR.images, COLOUR.labels), strict=True))))
    assert failure.code in ("no_images", "no_labels")
    assert "`data` and `target`" in failure.message
    assert keys[1] in failure.message


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float32])
def test_several_labels_an_image_as_medmnist_has_them(ingest: Ingest, dtype: Any) -> None:
    """A column of 0 and 1 for each class, of every split, also where one has no image."""
    target = np.random.default_rng(0).integers(0, 2, (120, 4)).astype(np.uint8)
    target[:, 2], target[0] = 0, 0
    parts = {"train": slice(0, 60), "val": slice(60, 90), "test": slice(90, 120)}
    images = np.random.default_rng(1).integers(0, 256, (120, 6, 6, 3), np.uint8)
    arrays = {f"{part}_images": images[rows] for part, rows in parts.items()}
    arrays |= {f"{part}_labels": target[rows].astype(dtype) for part, rows in parts.items()}
    found = ingest(npz(**arrays))
    assert (found.document["multi_label"], found.document["classes"]) == (True, ["0", "1", "2", "3"])
    assert found.document["splits"] == {"train": 60, "validation": 30, "test": 30}
    assert np.array_equal(found.images.target, target)
    assert all(np.array_equal(found.images[row], images[row]) for row in range(120))
    named = ingest(npz(**arrays), classes=["a", "b", "c", "d"])
    assert named.document["classes"] == ["a", "b", "c", "d"]
    assert np.array_equal(named.images.target, target)
    assert ingest(npz(**arrays), labelled=False).document["classes"] is None


def test_rows_with_one_label_each_are_classes(ingest: Ingest) -> None:
    found = ingest(npz(images=COLOUR.images, labels=np.eye(10)[COLOUR.labels]))
    plain = ingest(npz(images=COLOUR.images, labels=COLOUR.labels))
    assert not found.document["multi_label"]
    assert found.labels == plain.labels
    assert "labels_one_hot" in found.warnings


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        ({"train_labels": np.full((60, 3), 2), "test_labels": np.ones((30, 3))}, "bad_array"),
        ({"train_labels": np.ones((60, 3)), "test_labels": np.ones((30, 2))}, "labels_mismatch"),
        ({"train_labels": np.ones((60, 3)), "test_labels": np.ones(30, np.int64)}, "labels_mismatch"),
        ({"train_labels": np.ones((59, 3)), "test_labels": np.ones((30, 3))}, "labels_mismatch"),
        ({"train_labels": np.ones((60, 3))}, "no_labels"),
        ({"train_labels": np.ones((60, 3)), "train_images": None, "test_images": None}, "no_images"),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, labels: dict[str, np.ndarray], code: str) -> None:
    images = {"train_images": TRAIN.images, "test_images": TEST.images}
    arrays = {name: array for name, array in (images | labels).items() if array is not None}
    assert refusal(tmp_path, npz(**arrays)).code == code


def test_compressed_npz(ingest: Ingest) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=COLOUR.images, labels=COLOUR.labels)
    assert ingest(buffer.getvalue()).document == ingest(npz(images=COLOUR.images, labels=COLOUR.labels)).document


def test_numbers_that_do_not_occur_are_no_classes(ingest: Ingest) -> None:
    """EMNIST's letters are 1 to 26; and a number of a billion is no billion of classes."""
    labels = np.array([1, 26, 10**9])[TRAIN.labels]
    found = ingest(npz(images=TRAIN.images, labels=labels))
    assert found.document["classes"] == ["1", "26", "1000000000"]


def test_unlabelled_npz(ingest: Ingest) -> None:
    assert len(ingest(npz(images=TRAIN.images), labelled=False).images) == 60
    assert len(ingest(npz(images=TRAIN.images, labels=TRAIN.labels), labelled=False).images) == 60


def test_large_arrays_come_in_pieces_and_bounded(ingest: Ingest) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 900, 600), np.uint8)
    found = ingest(npz(images=images, labels=np.arange(10) % 2))
    assert found.document["image"] == {"height": 768, "width": 512, "channels": 1}
    many = np.random.default_rng(0).integers(0, 256, (9000, 32, 32), np.uint8)
    found = ingest(npz(images=many, labels=np.arange(9000) % 2))
    assert all(np.array_equal(found.images[row][:, :, 0], many[row]) for row in range(9000))


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"images": COLOUR.images}, "no_labels"),
        ({"images": COLOUR.images, "labels": COLOUR.labels[:-1]}, "labels_mismatch"),
        ({"labels": COLOUR.labels}, "no_images"),
        ({"pictures": COLOUR.images}, "no_images"),
        ({"images": COLOUR.images.astype(np.float32) / 255, "labels": COLOUR.labels}, "bad_array"),
        ({"images": COLOUR.images.astype(np.int64), "labels": COLOUR.labels}, "bad_array"),
        ({"images": COLOUR.images.transpose(0, 3, 1, 2), "labels": COLOUR.labels}, "bad_array"),
        ({"images": np.zeros((60, 6, 5, 4), np.uint8), "labels": COLOUR.labels}, "bad_array"),
        ({"images": COLOUR.images[0], "labels": COLOUR.labels}, "labels_mismatch"),
        ({"images": np.zeros(60, np.uint8), "labels": COLOUR.labels}, "bad_array"),
        ({"images": np.zeros((), np.uint8), "labels": COLOUR.labels}, "bad_array"),
        ({"images": np.zeros((0, 6, 5), np.uint8), "labels": COLOUR.labels[:0]}, "bad_array"),
        ({"images": np.asfortranarray(COLOUR.images), "labels": COLOUR.labels}, "bad_array"),
        ({"images": COLOUR.images, "labels": COLOUR.labels - 1}, "bad_array"),
        ({"images": COLOUR.images, "labels": COLOUR.labels.astype(float)}, "bad_array"),
        ({"images": COLOUR.images, "labels": COLOUR.labels.astype(str)}, "bad_array"),
        ({"images": COLOUR.images, "labels": 2 * np.eye(60, dtype=int)}, "bad_array"),
        ({"images": COLOUR.images, "labels": COLOUR.labels * 0}, "one_class"),
        ({"images": COLOUR.images, "labels": np.array([{"a": 1}] * 60, object)}, "bad_array"),
    ],
)
def test_npz_that_cannot_be_read(tmp_path: Path, arrays: dict[str, np.ndarray], code: str) -> None:
    assert refusal(tmp_path, npz(**arrays), format="npz").code == code


def npy(header: str, content: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + content


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"not an array",
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (60, 6, 5), }", bytes(60 * 30), b"\3\0"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (60, 6, 5), }", bytes(60 * 30 - 1)),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (60, 6, 5), }", bytes(60 * 30 + 1)),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (60, -6, -5), }", bytes(60 * 30)),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (10**30, 6, 5), }"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1" + "0" * 30 + ", 6, 5), }"),
        npy("__import__('os').system('true')"),
        npy("(" * 900),
        npy("-" * 900 + "1"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1, " * 9000 + "), }"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1" * 60_000 + "!"),
        npy("{'descr': '|u9', 'fortran_order': False, 'shape': (60, 6, 5), }", bytes(60 * 30 * 9)),
    ],
)
def test_headers_of_npy_that_cannot_be(tmp_path: Path, member: bytes) -> None:
    labels = io.BytesIO()
    np.save(labels, TRAIN.labels)
    data = zipped({"images.npy": member, "labels.npy": labels.getvalue()})
    assert refusal(tmp_path, data).code == "bad_array"


def test_a_bomb_of_an_npz(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=np.zeros((30_000, 32, 32), np.uint8), labels=np.zeros(30_000, int))
    assert refusal(tmp_path, buffer.getvalue()).code == "archive_bomb"
