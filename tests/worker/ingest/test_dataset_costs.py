"""What a dataset may cost: pixels, room on the disk, and time for each of its images."""

import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.contract.specs import DatasetIngest
from tests import hostile_images
from tests.archives import encoded, examples, zipped
from tests.worker.ingest.ingested import DEFAULTS
from worker.ingest import dataset, disk
from worker.runtime.contract import Failure, Result, Retry, Spec
from worker.runtime.recorder import Recorder

FLAT = zipped({f"{n % 2}/{n}.png": hostile_images.flat(512) for n in range(300)})
DIGITS = zipped({f"{n % 2}/{n}.png": encoded(image) for n, image in enumerate(examples(20, 2).images)})


def spec(folder: Path, data: bytes, **changes: int) -> Spec:
    (folder / "upload").write_bytes(data)
    (folder / "work").mkdir()
    inputs = {"file": folder / "upload"}
    made = Spec(
        kind="ingest_dataset",
        subject="ds_1",
        payload=DatasetIngest.load(DEFAULTS),
        inputs=inputs,
        workdir=folder / "work",
    )
    return replace(made, **changes)


def ingested(*args: object, **changes: int) -> Result:
    return dataset.ingest(spec(*args, **changes), Recorder())


def test_a_small_file_does_not_become_many_pixels(tmp_path: Path) -> None:
    """66 kB of an archive became 236 MB."""
    assert len(FLAT) * disk.MAX_RATIO < 300 * 512 * 512 * 3
    with pytest.raises(Failure) as refused:
        ingested(tmp_path, FLAT)
    assert refused.value.code == "archive_bomb"
    assert (tmp_path / "work" / "pixels.bin").stat().st_size <= max(disk.HARMLESS_BYTES, disk.MAX_RATIO * len(FLAT))


def test_nor_do_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "HARMLESS_BYTES", 1000)
    monkeypatch.setattr(disk, "MAX_RATIO", 2)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=np.zeros((4000, 8, 8), np.uint8), labels=np.arange(4000) % 2)
    with pytest.raises(Failure) as refused:
        ingested(tmp_path, buffer.getvalue())
    assert refused.value.code == "archive_bomb"


def test_a_dataset_has_a_largest_size(tmp_path: Path) -> None:
    with pytest.raises(Failure) as refused:
        ingested(tmp_path, DIGITS, pixel_bytes=20 * 32 * 32 * 3 - 1)
    assert refused.value.code == "dataset_too_large"


def test_up_to_which_it_is_read(tmp_path: Path) -> None:
    assert ingested(tmp_path, DIGITS, pixel_bytes=20 * 32 * 32 * 3).document["refused"] == []


def test_so_much_stays_free_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(Retry) as refused:
        ingested(tmp_path, DIGITS, min_free_bytes=2**60)
    again = pickle.loads(pickle.dumps(refused.value))  # as it comes to the supervisor
    assert (again.code, again.message) == ("storage_full", "The disk has no room for the dataset.")


def test_an_image_that_takes_too_long_is_refused_and_the_rest_is_used(tmp_path: Path) -> None:
    scans = hostile_images.many_scans(2000, 400)
    Image.open(io.BytesIO(scans)).load()  # it is an image
    members = {f"{n % 2}/{n}.png": encoded(image) for n, image in enumerate(examples(20, 2).images)}
    result = ingested(tmp_path, zipped(members | {"0/scans.jpg": scans}))
    [refused] = result.document["refused"]
    assert refused["name"] == "0/scans.jpg"
    assert "scans" in refused["reason"]
    assert sum(result.document["splits"].values()) == 20
