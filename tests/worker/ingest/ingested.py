"""One ingest, as a worker runs it: real files in, document, packed images and events out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.specs import DatasetIngest
from app.imaging.packed import SPLITS, PackedImages
from worker.ingest import dataset
from worker.runtime.contract import Failure, Note, Result, Spec
from worker.runtime.recorder import Recorder

DEFAULTS = {"format": "auto", "labelled": True, "splits": None, "seed": 0, "labels": "fine"}
FIELDS = {
    "format",
    "labelled",
    "multi_label",
    "classes",
    "image",
    "splits",
    "counts",
    "mean",
    "std",
    "refused",
    "sha256",
    "duplicates",
}


@dataclass(frozen=True)
class Ingested:
    document: dict[str, Any]
    images: PackedImages
    recorder: Recorder

    @property
    def labels(self) -> list[str]:
        """The name of each image's class."""
        return [self.document["classes"][label] for label in self.images.label.tolist()]

    @property
    def warnings(self) -> dict[str, str]:
        return {note.type: note.message for note in self.recorder.of(Note) if note.level == "warning"}

    @property
    def splits(self) -> list[str]:
        return [SPLITS[split] for split in self.images.split.tolist()]


def run(folder: Path, data: bytes, recorder: Recorder | None = None, **payload: Any) -> Ingested:
    recorder = recorder or Recorder()
    result = result_of(folder, data, recorder, **payload)
    assert set(result.document) == FIELDS
    assert all(path.parent == folder / "work" for path in result.artifacts.values())
    images = PackedImages.open(result.artifacts["pixels"], result.artifacts["index"])
    _holds_together(result.document, images)
    return Ingested(result.document, images, recorder)


def result_of(folder: Path, data: bytes, recorder: Recorder, **payload: Any) -> Result:
    (folder / "work").mkdir(parents=True)
    (folder / "blob").write_bytes(data)
    spec = Spec(
        "ingest_dataset", "ds_1", DatasetIngest.load(DEFAULTS | payload), {"file": folder / "blob"}, folder / "work"
    )
    return dataset.ingest(spec, recorder)


def refusal(folder: Path, data: bytes, **payload: Any) -> Failure:
    """The failure that ends the ingest; it says something that a user can act on."""
    with pytest.raises(Failure) as failed:
        result_of(folder, data, Recorder(), **payload)
    assert failed.value.message.endswith(".")
    return failed.value


def _holds_together(document: dict[str, Any], images: PackedImages) -> None:
    """What must be so of every dataset."""
    assert document["splits"] == {split: len(images.rows(split)) for split in SPLITS}
    assert sum(document["splits"].values()) == len(images) > 0
    assert len(document["mean"]) == len(document["std"]) == images.shape[:, 2].max()
    assert all(0 <= mean <= 1 for mean in document["mean"])
    assert all(0 < std <= 0.5 for std in document["std"])
    assert document["multi_label"] == (images.target is not None)
    if document["multi_label"]:
        for split in SPLITS:
            assert document["counts"][split] == images.target[images.rows(split)].sum(0).tolist()
    elif document["labelled"]:
        for split in SPLITS:
            label = images.label[images.rows(split)]
            unlabelled = split == "train" and len(label) > 0 and (label < 0).all()
            assert document["labelled"] == ("test" if unlabelled else document["labelled"])
            label = label[label >= 0]
            assert document["counts"][split] == np.bincount(label, minlength=len(document["classes"])).tolist()
    else:
        assert document["classes"] is document["counts"] is None
        assert (images.label == -1).all()
