"""Lists of labels, as they are read against a dataset's images; over HTTP in tests/system/test_revisions.py."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.specs import DatasetRevision
from app.imaging.packed import PackedImages, PackedWriter
from tests.archives import table
from worker.ingest import revision
from worker.ingest.revision import ImageNames
from worker.runtime.contract import Failure, Note, Result, Spec
from worker.runtime.recorder import Recorder

NAMES = ["a/1.png", "a/2.png", "b/1.png", "b/sample_0.png"]
COUNT = len(NAMES)


def stored(folder: Path, names: list[str] | None, labels: list[int], count: int = COUNT) -> dict[str, Path]:
    pixels, index = folder / "pixels.bin", folder / "index.npz"
    with PackedWriter(pixels) as writer:
        writer.extend(np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8))
        split_N = (np.arange(count) % 2).astype(np.uint8) * 2
        writer.finish(index, np.arange(count), np.array(labels), split_N, names=names)
    return {"parent.pixels": pixels, "parent.index": index}


def revise(
    folder: Path,
    content: bytes,
    *,
    names: list[str] | None = NAMES,
    labels: tuple[int, ...] = (0, 1, 0, 1),
    **payload: Any,
) -> tuple[Result, Recorder]:
    inputs = stored(folder, names, list(labels))
    (folder / "list").write_bytes(content)
    (folder / "work").mkdir()
    known = {"classes": ["cat", "dog"] if max(labels) >= 0 else [], "filename": "l.csv"}
    recorder = Recorder()
    order = DatasetRevision.load(known | payload)
    spec = Spec("revise_dataset", "ds_2", order, inputs | {"file": folder / "list"}, folder / "work")
    return revision.revise(spec, recorder), recorder


def stated(*pairs: tuple[str, Any]) -> bytes:
    return json.dumps([{"image": image, "label": label} for image, label in pairs]).encode()


def labels_of(folder: Path, result: Result) -> list[str | None]:
    images = PackedImages.open(folder / "pixels.bin", result.artifacts["index"])
    return [None if label < 0 else result.document["classes"][label] for label in images.label.tolist()]


@pytest.mark.parametrize(
    ("called", "row"),
    [
        ("a/2.png", 1),
        ("./a/2.png", 1),
        ("a/2", 1),
        ("/home/me/x/b/1.png", 2),
        ("2.png", 1),
        ("2", 1),
        ("sample_2", 2),
        ("1.png", None),
        ("c/1.png", None),
        ("sample_4", None),
        ("sample_0.png", 3),
    ],
)
def test_an_image_is_called_by_its_file_or_its_sample(called: str, row: int | None) -> None:
    names = ImageNames(NAMES, COUNT)
    found = names.match(called, "labels.csv")
    assert found == (None if row is None else NAMES[row])


def test_a_name_that_is_an_id_and_another_files_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure) as refused:
        revise(tmp_path, stated(("sample_0", "dog")), stated=True)
    assert refused.value.code == "ambiguous_names"
    assert "a/1.png" in refused.value.message
    assert "b/sample_0.png" in refused.value.message


def test_only_the_named_labels_change(tmp_path: Path) -> None:
    result, recorder = revise(tmp_path, table([["image", "label"], ["a/1.png", "hen"], ["b/1.png", "cat"]]))
    assert labels_of(tmp_path, result) == ["hen", "dog", "cat", "dog"]
    assert result.document["classes"] == ["cat", "dog", "hen"]
    assert result.document["counts"] == {"train": [1, 0, 1], "validation": [0, 0, 0], "test": [0, 2, 0]}
    told = {note.type for note in recorder.of(Note) if note.level == "warning"}
    assert told == {"classes_added", "classes_without_training"}
    assert list(result.artifacts) == ["index"]
    assert result.document["pixel_bytes"] == COUNT * 4 * 4 * 3


def test_what_held_of_the_parent_is_told_again_and_what_is_judged_anew_is_not(tmp_path: Path) -> None:
    before = [{"code": "splits_carved", "message": "Drawn."}, {"code": "classes_without_training", "message": "Old."}]
    _, recorder = revise(tmp_path, stated(("a/1.png", "cat")), stated=True, warnings=before)
    told = {note.type: note.message for note in recorder.of(Note)}
    assert told["splits_carved"] == "Drawn."
    assert "Old." not in told.values()
    assert "labels_unchanged" in told


def test_labels_of_tests_alone(tmp_path: Path) -> None:
    content = stated(("a/2.png", "cat"), ("b/sample_0.png", "dog"))
    result, _ = revise(tmp_path, content, labels=(-1,) * 4, stated=True)
    assert (result.document["labelled"], result.document["report"]["added"]) == ("test", 2)


def test_several_labels_where_there_were_none_have_to_be_of_all(tmp_path: Path) -> None:
    some = table([["file", "labels"], ["a/1.png", "sea|sun"], ["a/2.png", "sea"]])
    with pytest.raises(Failure) as refused:
        revise(tmp_path, some, labels=(-1,) * 4)
    assert refused.value.code == "no_labels"
    assert "2 of 4" in refused.value.message


def test_columns_of_zero_and_one(tmp_path: Path) -> None:
    lines = [[name, str(n % 2), "1", "0" if n else "1"] for n, name in enumerate(NAMES)]
    result, _ = revise(tmp_path, table([["filename", "sea", "sun", "sky"], *lines]), labels=(-1,) * 4)
    images = PackedImages.open(tmp_path / "pixels.bin", result.artifacts["index"])
    assert result.document["classes"] == ["sea", "sky", "sun"]
    assert images.target.tolist() == [[0, 1, 1], [1, 0, 1], [0, 0, 1], [1, 0, 1]]


def test_all_labels_may_not_go(tmp_path: Path) -> None:
    with pytest.raises(Failure) as refused:
        revise(tmp_path, stated(*((name, None) for name in NAMES)), stated=True)
    assert refused.value.code == "no_labels"


MEASURE = """
import resource, sys
from pathlib import Path
from app.contract.specs import DatasetRevision
from worker.ingest import revision
from worker.runtime.contract import Spec
from worker.runtime.recorder import Recorder
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]),) * 2)
inputs = {"parent.pixels": folder / "pixels.bin", "parent.index": folder / "index.npz", "file": folder / "list"}
order = DatasetRevision(classes=["cat", "dog"], filename="l.csv")
revision.revise(Spec("revise_dataset", "ds_2", order, inputs, folder / "work"), Recorder())
"""


def test_memory_does_not_grow_with_the_pixels(tmp_path: Path) -> None:
    """600 MB of pixels in a process that may have 256 MiB of data."""
    pixels, index, count = tmp_path / "pixels.bin", tmp_path / "index.npz", 770
    with PackedWriter(pixels) as writer:
        for number in range(count):
            writer.add(np.full((510, 510, 3), number % 256, np.uint8))
        label_N, split_N = np.arange(count) % 2, np.zeros(count, np.uint8)
        writer.finish(index, np.arange(count), label_N, split_N, names=[f"{n}.png" for n in range(count)])
    (tmp_path / "list").write_bytes(table([["file", "label"], ["7.png", "cat"]]))
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(256 * 2**20)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    assert PackedImages.open(pixels, tmp_path / "work" / "index.npz").label[7] == 0
