"""What is common to all formats: figures, digest, progress, orders to stop, memory, a full disk."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.imaging.packed import PackedImages, PackedWriter
from tests.archives import Examples, encoded, examples, folders, npz, tarred, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal, result_of
from worker.ingest import measure, watch
from worker.runtime.contract import Command, Interrupted, Note, Progress, Retry
from worker.runtime.recorder import Recorder

DATA = examples(40, 2, (8, 6, 3))
GOOD = zipped(folders(DATA, ["cat", "dog"]))


def test_mean_and_deviation_are_of_the_training_split(ingest: Ingest) -> None:
    found = ingest(GOOD)
    train = np.stack([found.images[row] for row in found.images.rows("train")]) / 255
    assert found.document["mean"] == pytest.approx(train.mean(axis=(0, 1, 2)).tolist(), abs=1e-12)
    assert found.document["std"] == pytest.approx(train.std(axis=(0, 1, 2)).tolist(), abs=1e-12)


def test_without_a_training_split_they_are_of_all(ingest: Ingest) -> None:
    found = ingest(zipped(folders(DATA, ["cat", "dog"], "test/")))
    assert found.document["splits"]["train"] == 0
    assert found.document["mean"] == pytest.approx((DATA.images / 255).mean(axis=(0, 1, 2)).tolist(), abs=1e-12)


def test_a_channel_that_never_changes_can_be_divided_by(ingest: Ingest) -> None:
    images = DATA.images.copy()
    images[..., 1] = 7
    found = ingest(npz(images=images, labels=DATA.labels))
    assert found.document["std"][1] == 1 / 255
    assert found.document["mean"][1] == pytest.approx(7 / 255)


def pack(folder: Path, images: list[np.ndarray]) -> PackedImages:
    with PackedWriter(folder / "pixels") as writer:
        for image in images:
            writer.add(image)
        zeros = np.zeros(len(images), np.int64)
        writer.finish(folder / "index.npz", np.arange(len(images)), zeros, zeros.astype(np.uint8))
    return PackedImages.open(folder / "pixels", folder / "index.npz")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3])), min_size=1, max_size=70),
    st.integers(0, 255),
)
def test_moments_of_any_images(tmp_path_factory: pytest.TempPathFactory, shapes: list, least: int) -> None:
    random = np.random.default_rng(least)
    images = [random.integers(least, 256, shape, np.uint8) for shape in shapes]
    mean, std = measure.moments(pack(tmp_path_factory.mktemp("pack"), images), lambda: None)
    channels = max(shape[2] for shape in shapes)
    pixels = np.concatenate(
        [np.broadcast_to(image, (*image.shape[:2], channels)).reshape(-1, channels) for image in images]
    )
    assert mean == pytest.approx((pixels / 255).mean(axis=0).tolist(), abs=1e-12)
    assert std == pytest.approx(np.maximum((pixels / 255).std(axis=0), 1 / 255).tolist(), abs=1e-9)


def test_the_digest_can_be_computed_by_anybody(ingest: Ingest) -> None:
    found = ingest(GOOD)
    text = b"cat\0dog\0" + b"\0"
    label, split = found.images.label.astype("<i8").tobytes(), found.images.split.tobytes()
    shape = np.array([[8, 6, 3]] * 40, "<i4").tobytes()
    pixels = b"".join(found.images[row].tobytes() for row in range(40))
    assert found.document["sha256"] == hashlib.sha256(text + label + split + shape + pixels).hexdigest()


@pytest.mark.parametrize("change", ["pixel", "label", "class", "seed"])
def test_whatever_changes_changes_the_digest(ingest: Ingest, change: str) -> None:
    images, labels, names = DATA.images.copy(), DATA.labels.copy(), ["cat", "dog"]
    images[3, 2, 1, 0] ^= change == "pixel"
    labels[5] ^= change == "label"
    names[0] = "hen" if change == "class" else "cat"
    changed = ingest(zipped(folders(Examples(images, labels), names)), seed=int(change == "seed"))
    assert changed.document["sha256"] != ingest(GOOD).document["sha256"]


def test_artifacts_are_equal_when_datasets_are(ingest: Ingest, tmp_path: Path) -> None:
    for _ in range(2):
        ingest(GOOD)
    for file in ("pixels.bin", "index.npz"):
        assert (tmp_path / "0" / "work" / file).read_bytes() == (tmp_path / "1" / "work" / file).read_bytes()


def test_own_fractions(ingest: Ingest) -> None:
    splits = {"train": 0.5, "validation": 0.0, "test": 0.5}
    assert ingest(GOOD, splits=splits).document["splits"] == {"train": 20, "validation": 0, "test": 20}


def test_unlabelled_datasets_have_no_classes(ingest: Ingest) -> None:
    found = ingest(GOOD, labelled=False)
    assert found.document["classes"] is None
    assert found.document["counts"] is None
    assert found.document["splits"] == {"train": 28, "validation": 4, "test": 8}


def test_it_says_what_it_does(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TELL_EVERY_S", 0)
    recorder = ingest(GOOD).recorder
    assert [note.message for note in recorder.of(Note)] == [
        "40 files, read as folder.",
        "The file brings no such split: 4 validation images and 8 test images were drawn at random (seed 0) from "
        "training.",
    ]
    told = recorder.of(Progress)
    assert [progress.step for progress in told] == list(range(1, 41))
    assert all(progress.total_steps == 40 and progress.eta_s is not None for progress in told)


@pytest.mark.parametrize("order", ["cancel", "pause", "shutdown"])
@pytest.mark.parametrize("at", [0, 10, 45, 75])
def test_orders_to_stop_are_obeyed_at_once(tmp_path: Path, order: Command, at: int) -> None:
    """Once the files are read, three threads measure: each of them may ask."""
    asked = iter(range(1000))
    recorder = Recorder(lambda _: order if next(asked) >= at else None)
    with pytest.raises(Interrupted) as interrupted:
        result_of(tmp_path, GOOD, recorder)
    assert interrupted.value.command == order
    assert next(asked) <= at + (3 if at > 40 else 1)


def test_a_full_disk_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(PackedWriter, "add", full)
    with pytest.raises(Retry):
        result_of(tmp_path, GOOD, Recorder())


def test_the_uploaded_file_is_only_read(tmp_path: Path) -> None:
    result_of(tmp_path, GOOD, Recorder())
    assert (tmp_path / "blob").read_bytes() == GOOD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob", "work"]


def test_a_failure_names_its_cause(tmp_path: Path) -> None:
    failure = refusal(tmp_path, zipped({"a/x.png": b"text"}))
    assert (failure.code, failure.message) == (
        "no_images",
        "No image could be read; a/x.png: The file is not a readable JPEG, PNG, WebP, BMP, GIF or TIFF.",
    )


MEASURE = """
import sys
from pathlib import Path
from tests.worker.ingest.ingested import result_of
from worker.runtime.recorder import Recorder
import resource
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]),) * 2)
result_of(folder, (folder / "upload").read_bytes(), Recorder(), labelled=False)
"""


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    """600 MB of pixels in a process that may have 256 MiB of data."""
    image = encoded(np.random.default_rng(0).integers(0, 256, (510, 510, 3), np.uint8), "JPEG", quality=20)
    (tmp_path / "upload").write_bytes(tarred({f"{number}.jpg": image for number in range(770)}))
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(256 * 2**20)]
    paths = str(Path(__file__).parents[3])
    run = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}, capture_output=True
    )
    assert run.returncode == 0, run.stderr.decode()
    assert (tmp_path / "work" / "pixels.bin").stat().st_size == 770 * 510 * 510 * 3
