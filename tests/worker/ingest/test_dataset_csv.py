"""A table of labels beside its images, as spreadsheets and scripts write them."""

from pathlib import Path

import pytest

from tests.archives import examples, folders, table, tarred, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal
from worker.ingest import classes

DATA = examples(40, 2, (8, 8, 3))
NAMES = ["cat", "dog"]
IMAGES = {f"images/{number:02}.png": content for number, content in enumerate(folders(DATA, NAMES).values())}
LINES = [[name, NAMES[label]] for name, label in zip(IMAGES, DATA.labels.tolist(), strict=True)]
GOOD = table([["file", "label"], *LINES])


def archive(csv: bytes, name: str = "labels.csv") -> bytes:
    return zipped({name: csv} | IMAGES)


def with_line(*fields: str) -> bytes:
    return archive(GOOD + ",".join(fields).encode() + b"\n")


def test_a_table_of_labels(ingest: Ingest) -> None:
    found = ingest(archive(GOOD))
    assert found.document["format"] == "csv"
    assert found.document["classes"] == NAMES
    assert found.document["refused"] == []
    assert found.labels == [label for _, label in LINES]
    assert found.document["splits"] == {"train": 28, "validation": 4, "test": 8}


@pytest.mark.parametrize(
    "csv",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.rstrip(),
        GOOD.replace(b"file,label", b" File , LABEL "),
        table([["label", "file", "remark"], *([label, f'"{name}"', '"nice, isn\'t it"'] for name, label in LINES)]),
        table([["file", "label"], *([f"./{name}", f" {label} "] for name, label in LINES)]),
        table([["file", "label"], *([name.replace("/", "\\"), label] for name, label in LINES)]),
        GOOD.replace(b"\n", b"\n\n"),
        GOOD + b"images/00.png,cat\n",
        table([["file", "label"], *reversed(LINES)]),
    ],
    ids=["BOM", "CRLF", "no last newline", "header", "quoted", "spaces", "Windows", "blank lines", "twice", "order"],
)
def test_however_it_was_written(ingest: Ingest, csv: bytes) -> None:
    assert ingest(archive(csv)).document == ingest(archive(GOOD)).document


def test_names_are_of_the_tables_folder_or_of_the_archive(ingest: Ingest) -> None:
    expected = ingest(archive(GOOD)).document["sha256"]
    nested = {f"data/{name}": content for name, content in IMAGES.items()}
    beside = zipped(nested | {"data/labels.csv": GOOD})
    whole = zipped(nested | {"data/labels.csv": GOOD.replace(b"images/", b"data/images/")})
    last = tarred(nested | {"data/labels.csv": GOOD}, "gz")
    assert [ingest(data).document["sha256"] for data in (beside, whole, last)] == [expected] * 3


def test_labels_keep_their_commas_and_quotes(ingest: Ingest) -> None:
    csv = GOOD.replace(b",cat", b',"cat, ""Felis catus"""')
    assert ingest(archive(csv)).document["classes"] == ['cat, "Felis catus"', "dog"]


def test_splits_may_be_in_the_table(ingest: Ingest) -> None:
    splits = ["train"] * 20 + ["val"] * 8 + ["Test"] * 12
    csv = table([["file", "label", "split"], *([*line, split] for line, split in zip(LINES, splits, strict=True))])
    found = ingest(archive(csv))
    assert found.document["splits"] == {"train": 20, "validation": 8, "test": 12}
    assert found.splits == [{"val": "validation", "Test": "test"}.get(split, split) for split in splits]


def test_where_the_table_names_no_split_there_is_training(ingest: Ingest) -> None:
    csv = table([["file", "label", "split"], *([*line, "test" if row < 10 else ""] for row, line in enumerate(LINES))])
    assert ingest(archive(csv)).document["splits"] == {"train": 26, "validation": 4, "test": 10}


def test_images_that_are_not_listed_are_refused(ingest: Ingest) -> None:
    found = ingest(archive(table([["file", "label"], *LINES[:-2]])))
    assert [entry["name"] for entry in found.document["refused"]] == [name for name, _ in LINES[-2:]]
    assert len(found.images) == 38


def test_unlabelled_tables_need_no_labels(ingest: Ingest) -> None:
    found = ingest(archive(table([["file"], *([name] for name, _ in LINES[:30])])), labelled=False)
    assert found.document["format"] == "csv"
    assert len(found.images) == 30


def test_other_tables_do_not_make_a_folder_a_csv(ingest: Ingest) -> None:
    found = ingest(zipped(folders(DATA, NAMES) | {"authors.csv": b"name,year\nAda,1843\n"}))
    assert found.document["format"] == "folder"
    assert [entry["name"] for entry in found.document["refused"]] == ["authors.csv"]


def test_listed_files_that_are_missing(tmp_path: Path) -> None:
    failure = refusal(tmp_path, with_line("images/99.png", "cat"))
    assert failure.code == "missing_files"
    assert "images/99.png" in failure.message


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "images"])
def test_names_that_lead_elsewhere_are_missing_files(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, with_line(name, "cat")).code == "missing_files"


def test_one_image_with_two_labels(tmp_path: Path) -> None:
    failure = refusal(tmp_path, with_line("images/00.png", "dog"))
    assert failure.code == "two_labels"
    assert "images/00.png" in failure.message
    assert "42" in failure.message  # the line


@pytest.mark.parametrize("label", ['"a\nb"', "x" * 10_000, "a\tb"], ids=["newline", "10 kB", "tab"])
def test_labels_that_cannot_be(tmp_path: Path, label: str) -> None:
    csv = GOOD.replace(b"images/00.png,cat", f"images/00.png,{label}".encode())
    assert refusal(tmp_path, archive(csv)).code == "bad_label"


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_cell_is_no_label(ingest: Ingest, empty: str) -> None:
    """The image stays, for methods that learn without labels, and that is said."""
    lines = [[name, empty if number % 5 == 0 else label] for number, (name, label) in enumerate(LINES)]
    found = ingest(archive(table([["file", "label"], *lines])))
    assert found.document["classes"] == NAMES
    expected = [-1 if not label.strip() else NAMES.index(label) for _, label in lines]
    assert found.images.label.tolist() == expected
    assert "8 of 40 images have no label" in found.warnings["images_unlabelled"]
    assert found.document["splits"]["train"] + found.document["splits"]["validation"] < 40


def test_a_test_split_without_labels_is_set_aside(ingest: Ingest) -> None:
    """As competitions have it: the table of all images says no labels of those that are to be guessed."""
    lines = [
        [name, "" if number >= 30 else label, "test" if number >= 30 else "train"]
        for number, (name, label) in enumerate(LINES)
    ]
    found = ingest(archive(table([["file", "label", "split"], *lines])))
    assert "10 images of the test split" in found.warnings["split_unlabelled"]
    assert "images_unlabelled" not in found.warnings
    assert sum(found.document["splits"].values()) == 30


def test_a_table_without_any_label(tmp_path: Path) -> None:
    failure = refusal(tmp_path, archive(table([["file", "label"], *([name, ""] for name in IMAGES)])))
    assert failure.code == "no_labels"
    assert "`labelled`: false" in failure.message


def test_a_label_of_a_megabyte(tmp_path: Path) -> None:
    assert refusal(tmp_path, with_line("images/00.png", "x" * 10**6)).code == "bad_table"


def test_too_many_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "MAX_CLASSES", 39)
    csv = table([["file", "label"], *([name, f"class {number}"] for number, name in enumerate(IMAGES))])
    assert refusal(tmp_path, archive(csv)).code == "too_many_classes"


def test_a_hundred_thousand_classes_are_too_many() -> None:
    assert classes.MAX_CLASSES < 10**5


@pytest.mark.parametrize(
    "csv",
    [
        b"",
        b"images/00.png,cat\n",
        b"file,label\nimages/00.png,cat,extra\n",
        b"file,label\nimages/00.png\n",
        b'file,label\nimages/00.png,"cat\n',
        GOOD.decode().encode("utf-16"),
        GOOD.replace(b"cat", b"c\xe4t"),
        b"file,label,split\nimages/00.png,cat,spare\n",
    ],
    ids=["empty", "no header", "too long", "too short", "open quote", "UTF-16", "Latin-1", "split"],
)
def test_tables_that_cannot_be_read(tmp_path: Path, csv: bytes) -> None:
    assert refusal(tmp_path, archive(csv), format="csv").code == "bad_table"


def test_no_table_and_two_that_say_the_same(tmp_path: Path) -> None:
    assert refusal(tmp_path / "0", zipped(IMAGES), format="csv").code == "wrong_format"
    failure = refusal(tmp_path / "1", zipped(IMAGES | {"a.csv": GOOD, "b.csv": GOOD}))
    assert failure.code == "bad_table"
    assert "a.csv, b.csv" in failure.message


def test_a_class_whose_images_cannot_be_read(tmp_path: Path) -> None:
    csv = GOOD + b"bad.png,cow\n"
    failure = refusal(tmp_path, zipped({"labels.csv": csv, "bad.png": b"x"} | IMAGES))
    assert failure.code == "empty_class"
    assert "'cow'" in failure.message


def test_one_class(tmp_path: Path) -> None:
    assert refusal(tmp_path, archive(GOOD.replace(b",dog", b",cat"))).code == "one_class"
