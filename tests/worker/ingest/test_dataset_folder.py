"""Folders of images: where split and class are looked for, and what happens to files that are no images."""

from pathlib import Path

import numpy as np
import pytest

from app.imaging import images
from tests.archives import encoded, examples, folders, tarred, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal
from worker.ingest import pack
from worker.runtime.contract import Note

DATA = examples(60, 3, (8, 8, 3))
NAMES = ["cat", "dog", "hen"]
GOOD = folders(DATA, NAMES)
IMAGE = GOOD["cat/0000.png"]


def split_folders(*splits: str, root: str = "") -> dict[str, bytes]:
    return {name: content for split in splits for name, content in folders(DATA, NAMES, f"{root}{split}/").items()}


@pytest.mark.parametrize("root", ["", "data/", "a/b/c/", "./"])
def test_a_folder_a_class(ingest: Ingest, root: str) -> None:
    found = ingest(zipped(folders(DATA, NAMES, root)))
    assert found.document["format"] == "folder"
    assert found.document["classes"] == NAMES
    assert found.document["image"] == {"height": 8, "width": 8, "channels": 3}
    assert found.document["splits"] == {"train": 42, "validation": 6, "test": 12}
    order = np.argsort(DATA.labels, kind="stable")  # by name: class, then number
    assert found.labels == [NAMES[label] for label in DATA.labels[order]]
    assert all(np.array_equal(found.images[row], DATA.images[number]) for row, number in enumerate(order))


@pytest.mark.parametrize("root", ["", "data/"])
@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("Train", "Valid", "TEST"),
        ("train", "dev", "test"),
    ],
)
def test_folders_of_splits_are_kept(ingest: Ingest, root: str, names: tuple[str, ...]) -> None:
    found = ingest(zipped(split_folders(*names, root=root)))
    assert found.document["splits"] == {"train": 60, "validation": 60, "test": 60}
    assert found.document["classes"] == NAMES


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("train",), {"train": 42, "validation": 6, "test": 12}),
        (("train", "test"), {"train": 51, "validation": 9, "test": 60}),  # .1 / (.7 + .1) of 20 a class: 2.5, so 3
        (("train", "val"), {"train": 48, "validation": 60, "test": 12}),  # .2 / (.7 + .2) of 20 a class: 4.4, so 4
        (("test",), {"train": 0, "validation": 0, "test": 60}),
        (("val", "test"), {"train": 0, "validation": 60, "test": 60}),
    ],
)
def test_splits_that_are_missing_come_out_of_training(ingest: Ingest, given: tuple[str, ...], expected: dict) -> None:
    found = ingest(zipped(split_folders(*given)))
    assert found.document["splits"] == expected


def test_a_class_may_be_called_like_a_split(ingest: Ingest) -> None:
    assert ingest(zipped(folders(DATA, ["bus", "car", "train"]))).document["classes"] == ["bus", "car", "train"]


def test_a_root_may_be_called_like_a_class(ingest: Ingest) -> None:
    assert ingest(zipped(folders(DATA, NAMES, "cat/"))).document["classes"] == NAMES


def test_folders_within_a_class_do_not_count(ingest: Ingest) -> None:
    members = {name.replace("/", "/2024/raw/"): content for name, content in GOOD.items()}
    assert ingest(zipped(members)).document["classes"] == NAMES


def test_splits_beside_other_folders_are_unclear(tmp_path: Path) -> None:
    members = split_folders("train", "test", "extra")
    failure = refusal(tmp_path, zipped(members))
    assert failure.code == "unclear_folders"
    assert "extra" in failure.message


def test_images_outside_of_classes_are_refused(ingest: Ingest) -> None:
    strays = {"data/logo.png": IMAGE, "cover.png": IMAGE}
    found = ingest(zipped(folders(DATA, NAMES, "data/") | strays))
    assert found.document["refused"] == [
        {"name": name, "reason": "It lies in no folder of a class."} for name in ("cover.png", "data/logo.png")
    ]
    assert len(found.images) == 60


def test_what_is_no_image_is_quarantined_and_the_rest_is_used(ingest: Ingest) -> None:
    bad = {
        "cat/empty.png": b"",
        "cat/short.png": IMAGE[:-40],
        "dog/text.jpg": b"not a picture",
        "hen/new.heic": b"\0\0\0\x18ftypheic" + bytes(99),
        "README.md": b"# About",
    }
    found = ingest(zipped(GOOD | bad))
    assert sorted(entry["name"] for entry in found.document["refused"]) == sorted(bad)
    assert all(entry["reason"].endswith(".") for entry in found.document["refused"])
    assert len(found.images) == 60
    assert [note.data for note in found.recorder.of(Note) if note.type == "files_refused"] == [{"count": 5}]
    clean = ingest(zipped(GOOD)).document
    assert found.document["sha256"] == clean["sha256"]
    assert clean["refused"] == []


def test_the_list_of_the_refused_has_an_end(ingest: Ingest) -> None:
    bad = {f"cat/bad{number:03}.png": b"x" for number in range(pack.LISTED + 23)}
    refused = ingest(zipped(GOOD | bad)).document["refused"]
    assert len(refused) == pack.LISTED + 1
    assert refused[-1] == {"name": "…", "reason": "23 more files were refused."}


def test_a_huge_file_is_refused_unread(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_IMAGE_BYTES", 1000)
    [refused] = ingest(zipped(GOOD | {"cat/huge.png": bytes(1001)})).document["refused"]
    assert refused["name"] == "cat/huge.png"


def test_nothing_usable(tmp_path: Path) -> None:
    failure = refusal(tmp_path, zipped({"cat/a.png": b"x", "dog/b.png": b"y"}))
    assert failure.code == "no_images"
    assert "cat/a.png" in failure.message


@pytest.mark.parametrize(
    "more",
    [
        {"cow/": b""},
        {"cow/readme.txt": b"none yet"},
        {"cow/broken.png": b"x"},
    ],
    ids=["no file", "no image", "no readable image"],
)
@pytest.mark.parametrize("root", ["", "data/", "data/train/"])
def test_an_empty_class(tmp_path: Path, more: dict[str, bytes], root: str) -> None:
    members = folders(DATA, NAMES, root) | {root + name: content for name, content in more.items()}
    failure = refusal(tmp_path, zipped(members))
    assert failure.code == "empty_class"
    assert "'cow'" in failure.message


def test_folders_elsewhere_are_no_empty_classes(ingest: Ingest) -> None:
    beside = {"data/docs/readme.txt": b"about", "data/train/cat/more/": b"", "tools/run.sh": b"#!"}
    assert ingest(zipped(split_folders("train", root="data/") | beside)).document["classes"] == NAMES


def test_a_class_without_training_images_is_told(ingest: Ingest) -> None:
    tested = folders(examples(4, 4, (8, 8, 3)), [*NAMES, "cow"], "test/")
    found = ingest(zipped(split_folders("train") | tested))
    assert found.document["classes"] == ["cat", "cow", "dog", "hen"]
    assert "'cow'" in found.warnings["classes_without_training"]


def test_one_class(tmp_path: Path) -> None:
    members = {name: content for name, content in GOOD.items() if name.startswith("cat")}
    for number, root in enumerate(("", "data/", "data/train/")):
        failure = refusal(tmp_path / str(number), zipped({root + name: content for name, content in members.items()}))
        assert failure.code == "one_class"
        assert "'cat'" in failure.message


def test_images_without_folders(tmp_path: Path) -> None:
    assert refusal(tmp_path, zipped({"a.png": IMAGE, "b.png": IMAGE})).code == "no_labels"


@pytest.mark.parametrize("name", ["a\nb", "x" * 300, "tab\t", "line\u2028"], ids=["newline", "long", "tab", "U+2028"])
def test_names_that_cannot_be_labels(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, zipped(GOOD | {f"{name}/a.png": IMAGE})).code == "bad_label"


def test_names_in_any_script_can(ingest: Ingest) -> None:
    names = ["Käse & Brot", "кошка", "猫 🐈"]
    assert ingest(zipped(folders(DATA, names))).document["classes"] == sorted(names)


@pytest.mark.parametrize("members", [GOOD, {Path(name).name: content for name, content in GOOD.items()}])
def test_unlabelled_images_may_lie_anywhere(ingest: Ingest, members: dict[str, bytes]) -> None:
    found = ingest(zipped(members), labelled=False)
    assert found.document["labelled"] is False
    assert found.document["splits"]["train"] + found.document["splits"]["test"] > 30


def test_unlabelled_images_keep_their_splits(ingest: Ingest) -> None:
    members = {f"{split}/{number}.png": IMAGE for split in ("train", "val", "test") for number in range(5)}
    assert ingest(tarred(members), labelled=False).document["splits"] == {"train": 5, "validation": 5, "test": 5}


def test_one_unlabelled_image_is_too_few(tmp_path: Path) -> None:
    assert refusal(tmp_path, zipped({"a.png": IMAGE}), labelled=False).code == "too_few_images"


def test_sizes_and_channels_may_be_mixed(ingest: Ingest) -> None:
    members = {
        f"{name}/{number}.png": encoded(np.full((4 + number, 5, channels), number, np.uint8))
        for number in range(5)
        for name, channels in (("grey", 1), ("colour", 3))
    }
    found = ingest(zipped(members))
    assert found.document["image"] is None
    assert [found.images[row].shape for row in (0, 1, 5, 6)] == [(4, 5, 3), (5, 5, 3), (4, 5, 1), (5, 5, 1)]
    assert len(found.document["mean"]) == 3


def test_grey_among_colour_counts_as_colour(ingest: Ingest) -> None:
    grey = folders(examples(30, 3, (8, 8, 1)), NAMES, "grey_")
    found = ingest(zipped(GOOD | grey))
    assert found.document["image"] == {"height": 8, "width": 8, "channels": 3}


def test_large_images_are_stored_bounded(ingest: Ingest) -> None:
    large = np.random.default_rng(0).integers(0, 256, (700, 1000, 3), np.uint8)
    members = {f"{name}/{number}.png": encoded(large) for name in "ab" for number in range(3)}
    found = ingest(zipped(members))
    assert found.document["image"] == {"height": 512, "width": 731, "channels": 3}
    assert np.array_equal(found.images[0], images.bound(large))


@pytest.mark.parametrize("folders", [["dog", "cat"], ["0", "1"]], ids=["names", "numbers"])
def test_a_list_of_names_beside_the_folders_gives_their_order(ingest: Ingest, folders: list[str]) -> None:
    """As their names, or the names of their numbers; of another list nothing is taken, and that is said."""
    images = examples(20, 2, (8, 8, 3)).images
    members = {f"{folders[n % 2]}/{n:02}.png": encoded(image) for n, image in enumerate(images)}
    found = ingest(zipped(members | {"classes.txt": b"dog\ncat\nhen\n"}))
    assert found.document["classes"] == ["dog", "cat", "hen"]
    assert found.labels == ["dog"] * 10 + ["cat"] * 10 if folders[0] == "0" else ["cat"] * 10 + ["dog"] * 10
    assert found.document["refused"] == []
    assert "0 is dog" in found.warnings["classes_listed"]
    other = ingest(zipped(members | {"classes.txt": b"fish\n"}))
    assert (other.document["classes"], other.document["refused"][0]["name"]) == (sorted(folders), "classes.txt")
    own = ingest(zipped(members | {"classes.txt": b"dog\ncat\n"}), classes=["cat", "dog"])
    assert own.document["classes"] == ["cat", "dog"]
    assert own.document["refused"][0]["name"] == "classes.txt"
