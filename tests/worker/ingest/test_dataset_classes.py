"""The order of classes, and names for numbers, as a request gives them."""

from pathlib import Path

import numpy as np
import pytest

from tests.archives import encoded, examples, folders, npz, table, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal

DATA = examples(40, 2, (8, 8, 3))
NAMES = ["cat", "dog"]
FOLDERS = zipped(folders(DATA, NAMES))


def test_classes_come_in_the_order_wanted(ingest: Ingest) -> None:
    plain, turned = ingest(FOLDERS), ingest(FOLDERS, classes=["dog", "cat"])
    assert (plain.document["classes"], turned.document["classes"]) == (NAMES, NAMES[::-1])
    assert turned.labels == plain.labels
    assert "classes_named" not in turned.warnings


def test_numbers_are_places_among_the_names(ingest: Ingest) -> None:
    """As medmnist has them: arrays of each split, labels in a column; 2 does not occur."""
    arrays = {}
    for split, count in (("train", 40), ("val", 10), ("test", 20)):
        arrays[f"{split}_images"] = examples(count, 2, (28, 28, 3), seed=count).images
        arrays[f"{split}_labels"] = (np.arange(count)[:, None] % 2).astype(np.uint8)
    found = ingest(npz(**arrays), classes=["adipose", "lymph", "mucus"])
    assert found.document["classes"] == ["adipose", "lymph", "mucus"]
    assert found.document["splits"] == {"train": 40, "validation": 10, "test": 20}
    assert found.document["counts"]["test"] == [10, 10, 0]
    assert "0 is adipose" in found.warnings["classes_named"]
    assert "'mucus'" in found.warnings["classes_without_training"]


def test_numbers_that_are_names_stay(ingest: Ingest) -> None:
    found = ingest(npz(images=DATA.images, labels=DATA.labels), classes=["1", "0"])
    assert found.labels == [str(label) for label in DATA.labels]
    assert "classes_named" not in found.warnings


def test_several_labels_an_image(ingest: Ingest) -> None:
    members = {f"{n}.png": encoded(image) for n, image in enumerate(DATA.images)}
    lines = [[name, ["cat", "cat|dog", "dog"][n % 3]] for n, name in enumerate(members)]
    data = zipped(members | {"t.csv": table([["file", "labels"], *lines])})
    plain, turned = ingest(data), ingest(data, classes=["dog", "hen", "cat"])
    assert plain.images.target is not None
    assert turned.images.target is not None
    assert turned.images.target[:, [2, 0]].tolist() == plain.images.target.tolist()
    assert not turned.images.target[:, 1].any()


@pytest.mark.parametrize("wanted", [["cat", "hen"], ["0", "1"]])
def test_classes_that_are_not_named_are_refused(tmp_path: Path, wanted: list[str]) -> None:
    failure = refusal(tmp_path, FOLDERS, classes=wanted)
    assert failure.code == "unknown_classes"
    assert "'dog'" in failure.message


def test_numbers_beyond_the_names_are_refused(tmp_path: Path) -> None:
    data = npz(images=DATA.images, labels=DATA.labels * 7)
    assert refusal(tmp_path, data, classes=["a", "b"]).code == "unknown_classes"
