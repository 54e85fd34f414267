"""Parquet files of images, written by pyarrow with the schema that Hugging Face's library datasets writes."""

import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.imaging import packed
from tests.archives import encoded, examples, tarred, zipped
from tests.worker.ingest.ingested import Ingested, refusal, run
from worker.runtime.contract import Failure

DATA = examples(48, 2, (8, 8, 3))
PICTURES = [encoded(image) for image in DATA.images]
NAMES = ["zebra", "ant"]  # not in the order of the alphabet
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
FIXTURE = Path(__file__).parent / "of_datasets.parquet"  # 12 rows, by `datasets` 5.2's own schema, row groups of 5


def shard(
    numbers: Sequence[int], labels: Sequence[Any] | None = None, *, names: list[str] | None = None, **options: Any
) -> bytes:
    """Rows of images and labels; `names` are those of a ClassLabel, `kind` the labels' type, `more` other columns."""
    kind, more, column = options.pop("kind", pa.int64()), options.pop("more", {}), options.pop("column", "label")
    rows = {"image": pa.array([{"bytes": PICTURES[n], "path": f"{n:03}.png"} for n in numbers], IMAGE)}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if labels is not None:
        rows[column] = pa.array(labels, kind)
        features[column] = {"_type": "ClassLabel", "names": names} if names else {"_type": "Value"}
    table = pa.table(rows | more)
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **({"row_group_size": 5} | options))
    return buffer.getvalue()


def places(numbers: Sequence[int]) -> list[int]:
    return [n % 2 for n in numbers]


def held(found: Ingested, folder: Path) -> dict[str, tuple[str, str | None]]:
    """Split and label of each image by its name; the pixels are those of the picture of that name."""
    names = packed.names(folder / "work" / "index.npz")
    assert names is not None
    for row, name in enumerate(names):
        assert np.array_equal(found.images[row], DATA.images[int(name[:3])])
    classes = found.document["classes"] or []
    labels = [None if label < 0 else classes[label] for label in found.images.label.tolist()]
    return dict(zip(names, zip(found.splits, labels, strict=True), strict=True))


def test_shards_of_a_set_with_its_splits_and_names(tmp_path: Path) -> None:
    members = {"README.md": b"# data"}
    for name, numbers in (
        ("data/train-00000-of-00002", range(16)),
        ("data/train-00001-of-00002", range(16, 32)),
        ("data/validation-00000-of-00001", range(32, 40)),
        ("data/test-00000-of-00001", range(40, 48)),
    ):
        members[f"{name}.parquet"] = shard(numbers, places(numbers), names=NAMES)
    for kind, pack in (("zip", zipped), ("tar", tarred)):
        found = run(tmp_path / kind, pack(members))
        assert found.document["format"] == "parquet"
        assert found.document["classes"] == NAMES
        expected = {
            f"{n:03}.png": ("train" if n < 32 else "validation" if n < 40 else "test", NAMES[n % 2]) for n in range(48)
        }
        assert held(found, tmp_path / kind) == expected
        [left_out] = found.document["refused"]
        assert left_out["name"] == "README.md"
        assert list((tmp_path / kind / "work").iterdir()).__len__() == 2  # the copies of shards are gone


def test_a_file_of_the_library_itself(tmp_path: Path) -> None:
    found = run(tmp_path, FIXTURE.read_bytes(), splits={"train": 1.0, "validation": 0.0, "test": 0.0})
    assert (found.document["classes"], found.labels) == (NAMES, ["zebra", "ant"] * 6)
    assert packed.names(tmp_path / "work" / "index.npz") == [f"{n:03}.png" for n in range(12)]
    assert found.images[3][3].tolist() == [[3, 3, 3]] * 8
    assert found.images[3][0].tolist() == [[0, 200, 0]] * 8


@pytest.mark.parametrize(
    ("labels", "kind", "names", "expected"),
    [
        ([f"{n % 2}c" for n in range(24)], pa.string(), None, ["0c", "1c"]),
        ([f"{n % 2}c" for n in range(24)], pa.dictionary(pa.int32(), pa.string()), None, ["0c", "1c"]),
        ([(2, 10)[n % 2] for n in range(24)], pa.uint8(), None, ["2", "10"]),
        ([bool(n % 2) for n in range(24)], pa.bool_(), None, ["0", "1"]),
        ([n % 2 for n in range(24)], pa.int64(), ["b", "c", "a"], ["b", "c", "a"]),
    ],
)
def test_kinds_of_labels(tmp_path: Path, labels: list[Any], kind: pa.DataType, names: Any, expected: list[str]) -> None:
    found = run(tmp_path, shard(range(24), labels, kind=kind, names=names))
    assert found.document["classes"] == expected
    held_labels = {name: label for name, (_, label) in held(found, tmp_path).items()}
    assert held_labels == {f"{n:03}.png": expected[n % 2] for n in range(24)}


def test_several_labels(tmp_path: Path) -> None:
    labels = [([0], [0, 1], [])[n % 3] for n in range(24)]
    found = run(tmp_path, shard(range(24), labels, kind=pa.list_(pa.int64()), column="labels"))
    assert (found.document["multi_label"], found.document["classes"]) == (True, ["0", "1"])
    assert found.images.target.sum(0).tolist() == [16, 8]


def test_rows_without_labels(tmp_path: Path) -> None:
    """−1 stands for none: kept in training, and said; a test split without any is set aside."""
    some = [-1 if n % 4 == 0 else n % 2 for n in range(24)]
    members = {
        "train.parquet": shard(range(24), some, names=NAMES),
        "test.parquet": shard(range(24, 32), [-1] * 8, names=NAMES),
    }
    found = run(tmp_path, zipped(members))
    assert "6 of 24" in found.warnings["images_unlabelled"]
    assert "8 images of the test" in found.warnings["split_unlabelled"]
    assert Counter(label for _, label in held(found, tmp_path).values()) == {"zebra": 6, "ant": 12, None: 6}
    unlabelled = run(tmp_path / "bare", zipped(members), labelled=False)
    assert unlabelled.document["splits"]["test"] == 8


def test_columns_in_question(tmp_path: Path) -> None:
    more = {"mask": pa.array([b"x"] * 24, pa.binary()), "grade": pa.array(places(range(24)), pa.int64())}
    plain = shard(range(24), None, more=more)
    refused = refusal(tmp_path / "0", plain)
    assert refused.code == "no_labels"
    assert "'grade' (int64)" in refused.message
    found = run(tmp_path / "1", plain, columns={"label": "grade"})
    assert found.document["classes"] == ["0", "1"]
    assert refusal(tmp_path / "2", plain, columns={"label": "nowhere"}).code == "bad_table"
    assert refusal(tmp_path / "3", plain, columns={"image": "grade"}).code == "bad_table"
    split = shard(range(24), places(range(24)), more={"split": pa.array(["train", "train", "test"] * 8)})
    assert run(tmp_path / "4", split).document["splits"]["test"] == 8
    both = {level: pa.array([n % of for n in range(24)], pa.int64()) for level, of in (("fine", 4), ("coarse", 2))}
    levels = shard(range(24), None, more={f"{level}_label": column for level, column in both.items()})
    assert run(tmp_path / "5", levels).document["classes"] == ["0", "1", "2", "3"]
    assert run(tmp_path / "6", levels, labels="coarse").document["classes"] == ["0", "1"]
    two = shard(range(24), places(range(24)), more={"category": pa.array(places(range(24)), pa.int64())})
    assert "label, category" in refusal(tmp_path / "7", two).message


def test_what_does_not_go_together(tmp_path: Path) -> None:
    one, other = shard(range(8), places(range(8)), names=NAMES), shard(range(8), places(range(8)), names=["a", "b"])
    assert refusal(tmp_path / "0", zipped({"train.parquet": one, "test.parquet": other})).code == "bad_table"
    assert refusal(tmp_path / "1", shard(range(8), [7] * 8, names=NAMES)).code == "bad_label"
    assert refusal(tmp_path / "2", shard(range(8), [-1] * 8, names=NAMES)).code == "no_labels"


def test_damage_is_refused_in_words(tmp_path: Path) -> None:
    """Whatever is changed in a file: it is read, or refused."""
    whole = shard(range(12), places(range(12)), names=NAMES)
    drawn = random.Random(0)
    ends: Counter[str] = Counter()
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[drawn.randrange(4, len(damaged))] = drawn.randrange(256)
        cut = damaged[: drawn.randrange(4, len(damaged))] if number % 4 == 0 else damaged
        try:
            run(tmp_path / str(number), bytes(cut), splits={"train": 1.0, "validation": 0.0, "test": 0.0})
            ends["read"] += 1
        except Failure as failure:
            ends[failure.code] += 1
    assert ends["corrupt_archive"] > 30
    assert set(ends) <= {"read", "corrupt_archive", "no_images", "bad_table", "bad_label", "no_labels", "one_class"}, (
        ends
    )


def test_a_small_file_does_not_become_many_images(tmp_path: Path) -> None:
    """One image in a dictionary, named by every row: a thousand times the bytes of the file."""
    picture = encoded(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    table = pa.table({"image": pa.array([picture] * 20_000, pa.binary()), "label": pa.array([0, 1] * 10_000)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    assert len(buffer.getvalue()) * 100 < 20_000 * len(picture)
    assert refusal(tmp_path, buffer.getvalue()).code == "archive_bomb"


MEASURE = """
import sys
from pathlib import Path
from tests.worker.ingest.ingested import result_of
from worker.runtime.contract import Failure
from worker.runtime.recorder import Recorder
import resource
folder = Path(sys.argv[1])
data = (folder / "upload").read_bytes()
(folder / "upload").unlink()
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]) + len(data),) * 2)
try:
    result_of(folder, data, Recorder(), labelled=False)
    print("read")
except Failure as failure:
    print(failure)
"""


@pytest.mark.parametrize(("rows", "ends"), [(100, "read"), (None, "out_of_memory: ")])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, rows: int | None, ends: str) -> None:
    """400 MB of pixels in a process that may have 256 MiB of data beside the upload, in groups of as many rows as the
    library datasets writes; where all rows are one page, which is unpacked as a whole, the way out is told."""
    picture = encoded(np.random.default_rng(0).integers(0, 256, (510, 510, 3), np.uint8), "JPEG", quality=60)
    pictures = pa.table({"image": pa.array([picture + bytes([n % 256, n // 256]) for n in range(520)], pa.binary())})
    pq.write_table(pictures, tmp_path / "upload", use_dictionary=False, row_group_size=rows)
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(256 * 2**20)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(ends)
    if rows is None:
        assert "row_group_size=100" in done.stdout
    else:
        assert (tmp_path / "work" / "pixels.bin").stat().st_size == 520 * 510 * 510 * 3
