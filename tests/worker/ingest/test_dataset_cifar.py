"""CIFAR-10 and CIFAR-100 in their official archives, and pickles that are up to something else."""

import collections
import functools
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import (
    CIFAR10,
    CIFAR100,
    CIFAR100_COARSE,
    Examples,
    cifar10_binary,
    cifar10_python,
    cifar100_binary,
    cifar100_python,
    examples,
    python2,
    tarred,
    zipped,
)
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import Ingested, refusal
from worker.ingest import pickled

TRAIN, TEST = examples(200, 10), examples(40, 10, seed=1)
TRAIN100, TEST100 = examples(400, 100), examples(100, 100, seed=1)


def holds(found: Ingested, train: Examples, test: Examples) -> bool:
    pixels = np.concatenate([train.images, test.images])
    return all(np.array_equal(found.images[row], image) for row, image in enumerate(pixels))


@pytest.mark.parametrize("data", [cifar10_python(TRAIN, TEST), cifar10_binary(TRAIN, TEST)], ids=["python", "binary"])
@pytest.mark.parametrize("format", ["auto", "cifar10"])
def test_cifar10(ingest: Ingest, data: bytes, format: str) -> None:
    found = ingest(data, format=format)
    assert found.document["format"] == "cifar10"
    assert found.document["classes"] == CIFAR10
    assert found.document["image"] == {"height": 32, "width": 32, "channels": 3}
    assert found.document["splits"] == {"train": 170, "validation": 30, "test": 40}
    assert found.document["refused"] == []
    assert holds(found, TRAIN, TEST)
    assert found.images.label.tolist() == [*TRAIN.labels, *TEST.labels]


@pytest.mark.parametrize("build", [cifar100_python, cifar100_binary], ids=["python", "binary"])
@pytest.mark.parametrize(("labels", "names"), [("fine", CIFAR100), ("coarse", CIFAR100_COARSE)])
def test_cifar100(ingest: Ingest, build: Any, labels: str, names: list[str]) -> None:
    found = ingest(build(TRAIN100, TEST100), labels=labels)
    assert found.document["format"] == "cifar100"
    assert found.document["classes"] == names
    assert found.document["splits"]["test"] == 100
    assert holds(found, TRAIN100, TEST100)
    chosen = [data.labels if labels == "fine" else data.coarse for data in (TRAIN100, TEST100)]
    assert found.images.label.tolist() == [*chosen[0], *chosen[1]]


def test_python_and_binary_are_one_dataset(ingest: Ingest) -> None:
    python, binary = (ingest(build(TRAIN, TEST)).document for build in (cifar10_python, cifar10_binary))
    assert python == binary


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_python_3(ingest: Ingest, protocol: int) -> None:
    pickle_by = functools.partial(pickle.dumps, protocol=protocol)
    data = cifar10_python(TRAIN, TEST, pickled=pickle_by)
    assert ingest(data).document == ingest(cifar10_python(TRAIN, TEST)).document


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i8"])
def test_arrays_and_scalars_of_whole_numbers(protocol: int, dtype: str) -> None:
    value = {
        "data": np.arange(12, dtype=np.uint8).reshape(3, 4).T,  # in Fortran's order
        b"labels": np.arange(5).astype(dtype),
        "scalars": [np.int64(3), np.uint8(200)],
        "none": None,
        "plain": [1, 2.5, True, (1, "x"), {"a": b"b"}],
    }
    found = pickled.load("x", pickle.dumps(value, protocol))
    assert np.array_equal(found["data"], value["data"])
    assert np.array_equal(found["labels"], np.arange(5))
    assert found["scalars"] == [3, 200]
    assert found["plain"] == value["plain"]


def test_a_zip_will_do(ingest: Ingest) -> None:
    batch = {"data": np.zeros((20, 3072), np.uint8), "labels": [0, 1] * 10}
    members = {"batches.meta": python2({"label_names": CIFAR10}), "data_batch_1": python2(batch)}
    assert ingest(zipped(members)).document["splits"] == {"train": 14, "validation": 2, "test": 4}


def test_without_labels(ingest: Ingest) -> None:
    assert ingest(cifar10_python(TRAIN, TEST), labelled=False).document["splits"]["test"] == 40


class Touch:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.path),)


def archive_with(pickle_of_batch: bytes) -> bytes:
    return tarred({"batches.meta": python2({"label_names": CIFAR10}), "data_batch_1": pickle_of_batch}, "gz")


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_not_run(tmp_path: Path, protocol: int) -> None:
    data = archive_with(pickle.dumps({"data": Touch(tmp_path / "touched")}, protocol))
    assert refusal(tmp_path / "run", data).code == "unsafe_pickle"
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "value",
    [
        [1],
        "text",
        collections.OrderedDict(a=1),
        {"data": np.array([1.5])},
        {"data": np.array([object()])},
        {"data": np.array([(1, 2)], [("a", "u1"), ("b", "u1")])},
        {"data": np.ma.masked_array([1])},
        {"data": Path("x")},
        {"data": {1, 2}},
        {1: 2},
    ],
    ids=range(10),
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_of_other_things(value: Any, protocol: int) -> None:
    with pytest.raises(Exception, match="unsafe_pickle"):
        pickled.load("x", pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x80\x02}.junk"[:3],
        b"\x80\x02cos\nsystem\nU\x04true\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02cnumpy\nndarray\n.",
        b"\x80\x02cnumpy.testing._private.utils\nrunstring\n.",
        b"\x80\x02cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.",
        b"\x80\x02cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x02O,NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
        b"\x80\x02ccopyreg\n_reconstructor\n.",
        b"\x80\x02cbuiltins\ngetattr\n.",
        b"\x82\x01.",
        b"Pid\n.",
    ],
)
def test_pickles_by_hand(data: bytes) -> None:
    with pytest.raises(Exception, match="unsafe_pickle"):
        pickled.load("x", data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02}r" + struct.pack("<I", 2**31) + b".",
        b"}p" + str(10**12).encode() + b"\n.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
        b"\x80\x02}(" + b")" + b"2\x86" * 80 + b"K\x01u.",
        b"\x80\x02})q\x00" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(80)) + b"K\x01s.",
        b"\x80\x02})\x94" + b"".join(b"h%c\x86\x94" % i for i in range(80)) + b"K\x01s.",
        b"\x80\x04}"
        + b")\x94"
        + b"".join(b"h%ch%c\x86\x95" % (i, i) + bytes(8) + b"\x94" for i in range(80))
        + b"K\x01s.",
    ],
    ids=["memo", "text memo", "bytearray", "bytes", "frame", "dup", "get", "memoize", "framed"],
)
@pytest.mark.timeout(10)
def test_pickles_that_would_take_all_memory_or_all_time(data: bytes) -> None:
    with pytest.raises(Exception, match="unsafe_pickle"):
        pickled.load("x", data)


def test_deep_pickles() -> None:
    with pytest.raises(Exception, match="unsafe_pickle"):
        pickled.load("x", b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")


BATCH = {"data": np.zeros((20, 3072), np.uint8), "labels": [0, 1] * 10}


@pytest.mark.parametrize(
    "change",
    [
        {"data": np.zeros((20, 3071), np.uint8)},
        {"data": np.zeros((0, 3072), np.uint8), "labels": []},
        {"data": np.zeros(20 * 3072, np.uint8)},
        {"data": np.zeros((20, 3072), np.int64)},
        {"data": [1, 2, 3]},
        {"data": None},
        {"labels": [0, 1] * 9},
        {"labels": [0, 10] * 10},
        {"labels": [0, -1] * 10},
        {"labels": ["a", "b"] * 10},
        {"labels": [[0, 1], [2]]},
        {"labels": None},
        {"labels": 3},
        {"labels": [10**30] * 20},
    ],
    ids=lambda change: str({key: getattr(value, "shape", value) for key, value in change.items()})[:40],
)
def test_batches_that_do_not_hold_together(tmp_path: Path, change: dict[str, Any]) -> None:
    assert refusal(tmp_path, archive_with(pickle.dumps(BATCH | change))).code == "bad_array"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (None, "bad_array"),
        (3, "bad_array"),
        ([1, 2], "bad_array"),
        ("abc", "bad_array"),
        (["cat", "cat"], "bad_label"),
        (["cat", ""], "bad_label"),
        ([str(number) for number in range(10_001)], "too_many_classes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_names_that_are_none(tmp_path: Path, names: Any, code: str) -> None:
    data = tarred({"batches.meta": pickle.dumps({"label_names": names}), "data_batch_1": python2(BATCH)})
    assert refusal(tmp_path, data).code == code


@pytest.mark.parametrize("format", ["cifar10", "cifar100"])
def test_archives_of_something_else(tmp_path: Path, format: str) -> None:
    other = {"cifar10": cifar100_python(TRAIN100, TEST100), "cifar100": cifar10_binary(TRAIN, TEST)}[format]
    for number, data in enumerate((other, zipped({"a/b.png": b"x"}))):
        assert refusal(tmp_path / str(number), data, format=format).code == "wrong_format"


@pytest.mark.parametrize("missing", ["batches.meta.txt", "data_batch_1.bin"])
def test_archives_that_lack_a_part(tmp_path: Path, missing: str) -> None:
    members = {"batches.meta.txt": b"cat\ndog\n", "data_batch_1.bin": bytes(3073)}
    del members[missing]
    assert refusal(tmp_path, tarred(members), format="cifar10").code == "wrong_format"


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(3074), b"\2" + bytes(3072)])
def test_binary_batches_that_do_not_hold_together(tmp_path: Path, content: bytes) -> None:
    data = tarred({"batches.meta.txt": b"cat\ndog\n", "data_batch_1.bin": content})
    assert refusal(tmp_path, data).code == "bad_array"


def test_a_batch_of_one_class(tmp_path: Path) -> None:
    one = Examples(TRAIN.images, TRAIN.labels * 0)
    assert refusal(tmp_path, cifar10_binary(one, one)).code == "one_class"
