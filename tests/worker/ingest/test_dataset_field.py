"""Datasets as people bring them: read as they mean them, or refused in words; nothing is dropped unsaid."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.archives import encoded, examples, table, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal

NAMES = ["cat", "dog"]
PICTURES = [encoded(image) for image in examples(96, 2, (6, 6, 3)).images]  # cat and dog in turn


def classed(root: str, start: int = 0, count: int = 16) -> dict[str, bytes]:
    """Members: `count` pictures in folders of the two classes."""
    return {f"{root}/{NAMES[n % 2]}/{n:03}.png": PICTURES[n] for n in range(start, start + count)}


def bare(root: str, start: int = 0, count: int = 16, suffix: str = ".png") -> dict[str, bytes]:
    """Members: `count` pictures without folders of classes."""
    return {f"{root}/{n:03}{suffix}": PICTURES[n] for n in range(start, start + count)}


# --- folders


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VALID", "TEST"),
        ("train", "dev", "eval"),
        ("train", "eval", "test"),
        ("training_set", "validation_set", "test_set"),
        ("trainset", "valset", "testset"),
        ("train_images", "val_images", "test_images"),
        ("images_train", "images_val", "images_test"),
        ("TrainData", "ValData", "TestData"),
        ("train2017", "val2017", "test2017"),
        ("seg_train", "seg_val", "seg_test"),
        ("flowers-train", "flowers-valid", "flowers-test"),
    ],
)
@pytest.mark.parametrize("repeated", [False, True])
def test_splits_by_the_names_that_people_give(
    ingest: Ingest, train: str, validation: str, test: str, repeated: bool
) -> None:
    members = {}
    for place, name in enumerate((train, validation, test)):
        members |= classed(f"data/{name}/{name}" if repeated else f"data/{name}", 20 * place, 8 + 2 * place)
    found = ingest(zipped(members))
    assert found.document["splits"] == {"train": 8, "validation": 10, "test": 12}
    assert found.document["classes"] == NAMES
    assert found.warnings == {}


@pytest.mark.parametrize("wrapping", ["images", "imgs", "training_set"])
def test_a_folder_that_says_no_more_than_the_one_around_it_is_passed_over(ingest: Ingest, wrapping: str) -> None:
    found = ingest(zipped(classed(f"training_set/{wrapping}") | classed("test_set", 20)))
    assert (found.document["splits"]["test"], found.document["classes"]) == (16, NAMES)


def test_kaggles_intel_images(ingest: Ingest) -> None:
    """Names twice over, and a third folder of pictures without labels."""
    members = classed("seg_train/seg_train") | classed("seg_test/seg_test", 20) | bare("seg_pred/seg_pred", 40, 5)
    found = ingest(zipped(members))
    assert found.document["classes"] == NAMES
    assert (len(found.images), found.document["splits"]["test"]) == (32, 16)
    assert len(found.document["refused"]) == 5
    assert "5 images" in found.warnings["images_set_aside"]


def tiny_imagenet(annotations: str = "val_annotations.txt", label: str = "n0{}") -> dict[str, bytes]:
    members = {f"tiny/train/n0{n % 2}/images/n0{n % 2}_{n}.JPEG": PICTURES[n] for n in range(16)}
    members |= {f"tiny/val/images/val_{n}.JPEG": PICTURES[20 + n] for n in range(8)}
    members |= {f"tiny/test/images/test_{n}.JPEG": PICTURES[40 + n] for n in range(6)}
    lines = [f"val_{n}.JPEG\t{label.format(n % 2)}\t0\t0\t62\t62\n" for n in range(8)]
    return members | {f"tiny/val/{annotations}": "".join(lines).encode(), "tiny/wnids.txt": b"n00\nn01\n"}


def test_tiny_imagenet(ingest: Ingest) -> None:
    found = ingest(zipped(tiny_imagenet()))
    assert found.document["classes"] == ["n00", "n01"]
    assert found.document["splits"]["validation"] == 8
    assert found.document["counts"]["validation"] == [4, 4]
    validation = found.images.rows("validation")
    assert found.images.label[validation].tolist() == [0, 1] * 4
    assert "6 images of the test split" in found.warnings["split_unlabelled"]
    assert found.document["splits"]["test"] > 0  # carved, and said so
    assert "splits_carved" in found.warnings
    assert {entry["name"] for entry in found.document["refused"]} == {
        "tiny/wnids.txt",
        *(f"tiny/test/images/test_{n}.JPEG" for n in range(6)),
    }


@pytest.mark.parametrize("changes", [{"annotations": "boxes.txt"}, {"label": "box{}"}])
def test_tiny_imagenet_without_annotations_never_has_a_class_images(ingest: Ingest, changes: Mapping[str, str]) -> None:
    found = ingest(zipped(tiny_imagenet(**changes)))
    assert found.document["classes"] == ["n00", "n01"]
    assert "8 images of the validation split" in found.warnings["split_unlabelled"]


@pytest.mark.parametrize(
    "tops",
    [
        ("images_part_1", "images_part_2"),
        ("HAM10000_images_part_1", "HAM10000_images_part_2"),
        ("images1", "images2"),
        ("images", "masks"),
        ("images", "labels"),
        ("train_cats", "test_dogs"),
        ("cat", "images"),
    ],
)
def test_what_looks_like_no_classes_is_not_taken_for_them(tmp_path: Path, tops: tuple[str, str]) -> None:
    failure = refusal(tmp_path, zipped(bare(tops[0]) | bare(tops[1], 20)))
    assert failure.code == "unclear_folders"
    assert any(top in failure.message for top in tops)


@pytest.mark.parametrize("tops", [("grade_1", "grade_2"), ("test", "control"), ("mask", "no_mask"), ("photo", "art")])
def test_what_may_be_classes_is(ingest: Ingest, tops: tuple[str, str]) -> None:
    found = ingest(zipped(bare(tops[0]) | bare(tops[1], 20)))
    assert found.document["classes"] == sorted(tops)
    assert ("class_named_like_a_split" in found.warnings) == ("test" in tops)


def test_parts_with_classes_in_them_are_joined_and_told(ingest: Ingest) -> None:
    found = ingest(zipped(classed("images_part_1") | classed("images_part_2", 20)))
    assert (found.document["classes"], len(found.images)) == (NAMES, 32)
    assert "parts_joined" in found.warnings


def test_a_split_beside_folders_without_labels_is_unclear(tmp_path: Path) -> None:
    assert refusal(tmp_path, zipped(classed("train") | bare("other", 20))).code == "unclear_folders"


def test_own_names_of_splits(ingest: Ingest) -> None:
    names = {"train": ["Lernen"], "test": ["Prüfung", "probe"]}
    members = classed("lernen") | classed("Prüfung", 20)
    assert ingest(zipped(members), split_names=names).document["splits"]["test"] == 16
    lines = [[name, NAMES[n % 2], "probe" if n % 4 < 2 else "lernen"] for n, name in enumerate(bare("i"))]
    csv = table([["file", "label", "split"], *lines])
    assert ingest(zipped(bare("i") | {"t.csv": csv}), split_names=names).document["splits"]["test"] == 8


# --- splits without labels


def test_unlabelled_training_and_labelled_tests(ingest: Ingest) -> None:
    """Ready before with all training files refused; the images are kept, and the dataset says what it has."""
    for data in (bare("train"), bare("train/images")):
        found = ingest(zipped(data | classed("test", 20)))
        assert found.document["labelled"] == "test"
        assert sum(found.document["splits"].values()) == 32
        assert (found.document["splits"]["test"], found.document["refused"]) == (16, [])
        assert found.document["counts"]["train"] == [0, 0]
        assert (found.images.label[found.images.rows("train")] == -1).all()
        assert "training_unlabelled" in found.warnings


def test_training_labels_may_be_left_out(ingest: Ingest, tmp_path: Path) -> None:
    found = ingest(zipped(classed("train") | classed("test", 20)), labelled="test")
    assert found.document["labelled"] == "test"
    assert (found.images.label[found.images.split != 2] == -1).all()
    assert found.document["counts"]["test"] == [8, 8]
    splits = {"train": 0.8, "validation": 0.2, "test": 0.0}
    assert refusal(tmp_path, zipped(classed("train")), labelled="test", splits=splits).code == "no_labels"


def test_a_set_for_testing_only(ingest: Ingest) -> None:
    found = ingest(zipped(classed("test")))
    assert found.document["splits"] == {"train": 0, "validation": 0, "test": 16}
    assert found.document["labelled"] is True


def test_tests_without_labels_are_set_aside_and_told(ingest: Ingest) -> None:
    found = ingest(zipped(classed("train") | bare("test", 20)))
    assert "16 images of the test split" in found.warnings["split_unlabelled"]
    assert len(found.document["refused"]) == 16


def test_no_labels_anywhere(tmp_path: Path) -> None:
    members = bare("train") | bare("test", 20)
    assert refusal(tmp_path / "0", zipped(members)).code == "no_labels"
    assert refusal(tmp_path / "1", zipped(bare("train") | classed("val", 20))).code == "no_labels"


# --- tables

LISTED = bare("pictures")
LABELS = [NAMES[n % 2] for n in range(16)]


def listing(*, header: str, path: str = "pictures/{:03}.png", separator: str = ",") -> bytes:
    lines = [f"{path.format(n)}{separator}{label}\n" for n, label in enumerate(LABELS)]
    return (header + "\n" + "".join(lines)).encode()


@pytest.mark.parametrize(
    "header",
    [
        "filename,class",
        "image,label",
        "path,category",
        "image_id,dx",
        "id,label",
        "Image Name,Class Name",
        "img_path,target",
        "id_code,diagnosis",
        "Bild,Art",
    ],
)
@pytest.mark.parametrize("path", ["pictures/{:03}.png", "{:03}.png", "{:03}", "pictures/{:03}"])
def test_column_names_and_ids(ingest: Ingest, header: str, path: str) -> None:
    found = ingest(zipped(LISTED | {"some_labels.csv": listing(header=header, path=path)}))
    assert found.document["format"] == "csv"
    assert found.labels == LABELS


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_and_marks(ingest: Ingest, separator: str, mark: str) -> None:
    csv = listing(header=f"{mark}file{separator}label", separator=separator)
    suffix = "tsv" if separator == "\t" else "csv"
    assert ingest(zipped(LISTED | {f"t.{suffix}": csv})).labels == LABELS


@pytest.mark.parametrize(
    "path",
    [
        "/home/me/data/pictures/{:03}.png",
        "C:\\Users\\me\\pictures\\{:03}.png",
        "./pictures/{:03}.png",
        "../input/pictures/{:03}.png",
        "https://example.org/pictures/{:03}.png",
    ],
)
def test_paths_of_other_machines_are_matched_by_their_end(ingest: Ingest, tmp_path: Path, path: str) -> None:
    members = LISTED | {"t.csv": listing(header="file,label", path=path)}
    if ".." in path:  # never followed
        assert refusal(tmp_path, zipped(members)).code == "missing_files"
        return
    found = ingest(zipped(members))
    assert found.labels == LABELS
    assert ("paths_matched_by_end" in found.warnings) == (not path.startswith("./"))


def test_of_equal_names_the_folder_tells_them_apart_or_nothing_does(ingest: Ingest, tmp_path: Path) -> None:
    members = {f"{folder}/0.png": PICTURES[n] for n, folder in enumerate("abcdefgh")}
    lines = [[f"/data/{folder}/0.png", NAMES[n % 2]] for n, folder in enumerate("abcdefgh")]
    assert ingest(zipped(members | {"t.csv": table([["file", "label"], *lines])})).labels == NAMES * 4
    unclear = table([["file", "label"], *lines[:7], ["/data/0.png", "dog"]])
    assert refusal(tmp_path, zipped(members | {"t.csv": unclear})).code == "missing_files"


def test_columns_that_are_not_known_are_named(ingest: Ingest, tmp_path: Path) -> None:
    lines = [[f"{n:03}.png", LABELS[n], str(n), "x"] for n in range(16)]
    members = LISTED | {"t.csv": table([["bild", "art", "alter", "ort"], *lines])}
    failure = refusal(tmp_path / "a", zipped(members))
    assert failure.code == "bad_table"
    assert all(name in failure.message for name in ("'bild', 'art', 'alter', 'ort'", "`label`", "`class`", "`columns`"))
    found = ingest(zipped(members), columns={"image": "Bild", "label": "art"})
    assert found.labels == LABELS
    failure = refusal(tmp_path / "b", zipped(members), columns={"image": "file"})
    assert failure.code == "bad_table"
    assert "'bild'" in failure.message


def test_several_labels_and_splits_by_own_columns(ingest: Ingest) -> None:
    cells = ["red+blue", "red, blue", "red", "blue, green"]
    lines = [[f"{n:03}.png", f'"{cells[1 + n % 3]}"', ["a", "b"][n % 2]] for n in range(16)]
    members = LISTED | {"t.csv": table([["f", "l", "s"], *lines])}
    columns = {"image": "f", "labels": "l", "split": "s"}
    found = ingest(zipped(members), columns=columns, split_names={"train": ["a"], "test": ["b"]})
    assert found.document["classes"] == ["blue", "green", "red"]
    assert found.document["splits"]["test"] == 8


def test_two_columns_of_labels(ingest: Ingest, tmp_path: Path) -> None:
    """By numbers and by words they are one; else it has to be said which is meant."""
    lines = [[f"{n:03}.png", str(n % 2), LABELS[n]] for n in range(16)]
    for header in (["file", "label", "class"], ["filepaths", "class id", "labels"]):
        found = ingest(zipped(LISTED | {"t.csv": table([header, *lines])}))
        assert found.document["classes"] == NAMES
        assert not found.document["multi_label"]
    lines[0][1] = "1"
    assert (
        refusal(tmp_path, zipped(LISTED | {"t.csv": table([["file", "label", "class"], *lines])})).code == "bad_table"
    )


def test_roboflow(ingest: Ingest) -> None:
    members = {}
    for place, split in enumerate(("train", "valid", "test")):
        files = bare(split, 20 * place, 8 + 2 * place)
        flags = [[name.rpartition("/")[2], "1", str(n % 2), "0" if n % 4 else "1"] for n, name in enumerate(files)]
        members |= files | {f"{split}/_classes.csv": table([["filename", " red", " blue", " green"], *flags])}
    found = ingest(zipped(members))
    assert found.document["multi_label"]
    assert found.document["classes"] == ["blue", "green", "red"]
    assert found.document["splits"] == {"train": 8, "validation": 10, "test": 12}
    assert found.document["counts"]["train"] == [4, 2, 8]


def test_one_hot_columns_of_which_one_is_set_are_one_label(ingest: Ingest) -> None:
    lines = [[f"{n:03}", f"{1 - n % 2}.0", f"{n % 2}.0"] for n in range(16)]
    found = ingest(zipped(LISTED | {"truth.csv": table([["image", *NAMES], *lines])}))
    assert (found.labels, found.document["multi_label"]) == (LABELS, False)


def test_kaggles_competitions(ingest: Ingest) -> None:
    """train.csv says the labels, sample_submission.csv looks as if it did, and the test images have none."""
    members = bare("train_images") | bare("test_images", 20)
    submission = table([["id", "label"], *([f"{n:03}", "cat"] for n in range(20, 36))])
    members |= {"train.csv": listing(header="id,label", path="{:03}"), "sample_submission.csv": submission}
    members |= {"test.csv": table([["id"], *([f"{n:03}"] for n in range(20, 36))])}
    found = ingest(zipped(members))
    assert found.labels == LABELS
    assert "competition" in found.warnings["table_set_aside"] or "test.csv" in found.warnings["table_set_aside"]
    assert len(found.document["refused"]) == 16
    assert "files_refused" in found.warnings


def test_ham10000(ingest: Ingest) -> None:
    members = bare("HAM10000_images_part_1", 0, 8, ".jpg") | bare("HAM10000_images_part_2", 8, 8, ".jpg")
    lines = [[f"HAM_{n}", f"{n:03}", LABELS[n], "histo", "80.0", "male", "scalp"] for n in range(16)]
    header = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    pixels = table([["pixel0000", "pixel0001", "label"], *([str(n), "7", "1"] for n in range(16))])
    members |= {"HAM10000_metadata.csv": table([header, *lines]), "hmnist_28_28_RGB.csv": pixels}
    found = ingest(zipped(members))
    assert found.labels == LABELS
    assert "hmnist" in found.warnings["table_set_aside"]


def test_folders_of_listed_images_may_be_splits(ingest: Ingest) -> None:
    lines = [[name, NAMES[int(name[-7:-4]) % 2]] for name in bare("train") | bare("test", 20)]
    found = ingest(zipped(bare("train") | bare("test", 20) | {"labels.csv": table([["file", "label"], *lines])}))
    assert found.document["splits"]["test"] == 16
    assert found.labels[:2] == NAMES


def test_a_table_that_says_else_than_the_folders(ingest: Ingest) -> None:
    members = classed("data")
    same = table([["file", "label"], *([name, name.split("/")[1]] for name in members)])
    other = table([["file", "label"], *([name, ["odd", "even"][n % 3 > 0]] for n, name in enumerate(members))])
    assert "table_over_folders" not in ingest(zipped(members | {"t.csv": same})).warnings
    found = ingest(zipped(members | {"t.csv": other}))
    assert found.document["classes"] == ["even", "odd"]
    assert "`folder`" in found.warnings["table_over_folders"]
    assert ingest(zipped(members | {"t.csv": other}), format="folder").document["classes"] == NAMES


def test_sizes_in_a_table_are_no_labels_where_folders_are(ingest: Ingest) -> None:
    members = classed("data")
    sizes = table([["file", "width"], *([name, "6"] for name in members)])
    assert ingest(zipped(members | {"sizes.csv": sizes})).document["format"] == "folder"


# --- pixels and duplicates


def test_tiff_and_transparency_are_told(ingest: Ingest) -> None:
    wide = np.arange(36, dtype=np.uint16).reshape(6, 6) * 100
    shape = np.zeros((6, 6, 4), np.uint8)
    shape[2:4, 2:4, 3] = 255
    members = {f"{name}/{n}.tif": encoded(wide + n, "TIFF") for n in range(5) for name in NAMES}
    members |= {f"{name}/{n}.png": encoded(shape + n // 9) for n in range(5) for name in NAMES}
    members |= {f"{name}/large.png": encoded(np.zeros((600, 520, 3), np.uint8)) for name in NAMES}
    found = ingest(zipped(members))
    assert found.document["refused"] == []
    for change, count in (("depth", 10), ("transparency", 10), ("size", 2)):
        assert found.warnings[f"images_changed_{change}"].startswith(f"{count} images")


def test_the_same_picture_in_training_and_test(ingest: Ingest) -> None:
    members = classed("train") | classed("test", 12, 16)
    found = ingest(zipped(members))
    assert found.document["duplicates"]["exact"] == found.document["duplicates"]["across"] == 4
    assert found.document["duplicates"]["examples"][0]["images"][1].startswith("test/")
    assert found.warnings["same_images_across_splits"].startswith("4 validation and test images")
    clean = ingest(zipped(classed("train") | classed("test", 20)))
    assert clean.document["duplicates"] == {"exact": 0, "across": 0, "near": None, "examples": []}
    again = ingest(
        zipped(classed("train") | {"train/cat/copy.png": PICTURES[0]} | classed("val", 20) | classed("test", 40))
    )
    assert (again.document["duplicates"]["exact"], again.document["duplicates"]["across"]) == (1, 0)
    assert again.document["duplicates"]["examples"] == [
        {"images": ["train/cat/000.png", "train/cat/copy.png"], "splits": ["train", "train"]}
    ]
