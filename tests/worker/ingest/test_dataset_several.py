"""A table whose images have any number of labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.archives import examples, folders, table, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal, run
from worker.ingest import classes
from worker.runtime.contract import Note

COUNT = 40
DATA = examples(COUNT, 2, (4, 4, 1))
IMAGES = {f"{number:02}.png": content for number, content in enumerate(folders(DATA, ["a", "b"]).values())}
SETS = [{"cat"} | ({"outdoor"} if n % 4 == 0 else set()) if n % 5 else set() for n in range(COUNT)]


def archive(cells: list[str], *more: list[str], column: str = "labels") -> bytes:
    lines = [[name, f'"{cell}"'] for name, cell in zip(IMAGES, cells, strict=True)]
    return zipped({"table.csv": table([["file", column], *lines, *more])} | IMAGES)


GOOD = archive(["|".join(sorted(names)) for names in SETS])


def test_a_table_of_several_labels(ingest: Ingest) -> None:
    found = ingest(GOOD)
    assert (found.document["format"], found.document["multi_label"]) == ("csv", True)
    assert found.document["classes"] == ["cat", "outdoor"]
    assert found.images.target is not None
    assert found.images.target.dtype == np.uint8
    assert found.images.target.tolist() == [["cat" in names, "outdoor" in names] for names in SETS]
    assert sum(np.array(list(found.document["counts"].values()))).tolist() == [32, 8]
    assert found.document["refused"] == []
    assert set(found.warnings) == {"splits_carved"}


def test_an_image_counts_as_its_rarest_class_and_splits_keep_the_shares(ingest: Ingest) -> None:
    found = ingest(GOOD)
    rarest = ["outdoor" if "outdoor" in names else "cat" if names else None for names in SETS]
    assert [None if k < 0 else found.document["classes"][k] for k in found.images.label] == rarest
    for group in ("cat", "outdoor", None):
        splits = [split for split, own in zip(found.splits, rarest, strict=True) if own == group]
        assert splits.count("test") == round(len(splits) * 0.2)
        assert splits.count("validation") >= 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_however_a_cell_is_written(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Blanks, empty pieces, labels that stand twice, in any order: the same dataset."""
    blank = st.text(" \t", max_size=2)

    def cell(names: set[str]) -> str:
        pieces = data.draw(st.permutations([*names, *data.draw(st.lists(st.sampled_from([*names, ""]), max_size=3))]))
        return "|".join(data.draw(blank) + piece + data.draw(blank) for piece in pieces)

    found = run(tmp_path_factory.mktemp("several"), archive([cell(names) for names in SETS]))
    expected = run(tmp_path_factory.mktemp("several"), GOOD)
    assert found.document == expected.document


def test_a_file_may_have_several_lines(ingest: Ingest) -> None:
    first = [sorted(names)[0] if names else "" for names in SETS]
    more = [[name, "outdoor"] for name, names in zip(IMAGES, SETS, strict=True) if "outdoor" in names]
    assert ingest(archive(first, *more)).document == ingest(GOOD).document


def test_two_splits_of_one_file_are_refused(tmp_path: Path) -> None:
    csv = table([["file", "labels", "split"], *([name, "a|b", "train"] for name in IMAGES), ["00.png", "a", "test"]])
    assert refusal(tmp_path, zipped({"table.csv": csv} | IMAGES)).code == "two_labels"


def test_the_column_label_has_one_label_whatever_is_in_it(ingest: Ingest, tmp_path: Path) -> None:
    """A `|` is a character like others there; a warning says where lists belong."""
    found = ingest(archive(["cat|outdoor" if n % 2 else "dog" for n in range(COUNT)], column="label"))
    assert found.document["multi_label"] is False
    assert found.images.target is None
    assert found.document["classes"] == ["cat|outdoor", "dog"]
    assert "labels_with_bars" in [note.type for note in found.recorder.of(Note)]
    twice = refusal(tmp_path, archive(["cat"] * COUNT, ["00.png", "dog"], column="label"))
    assert twice.code == "two_labels"
    assert "`labels`" in twice.message


@pytest.mark.parametrize("column", ["labels", "tags", "label", "category"])
@pytest.mark.parametrize("separator", ["|", ";", ",", ", ", " "])
def test_other_separators_are_read_and_told(ingest: Ingest, separator: str, column: str) -> None:
    """Planet's blanks, commas and semicolons, where the labels of lists come back in others; also in a column of one
    label, for blanks only where each word stands alone elsewhere."""
    sets = [{"red", "blue"}, {"red"}, {"blue"}, {"green"}, {"green", "red"}, {"red", "green", "blue"}]
    found = ingest(archive([separator.join(sorted(sets[n % 6])) for n in range(COUNT)], column=column))
    assert found.document["classes"] == ["blue", "green", "red"]
    assert found.document["multi_label"]
    if separator != "|" or column in ("label", "category"):
        assert "labels_separated" in found.warnings
        assert repr(separator.strip() or " ") in found.warnings["labels_separated"]


def test_names_with_blanks_stay_whole(ingest: Ingest) -> None:
    names = ["golden retriever", "labrador retriever", "poodle", "red fox"]
    for column in ("label", "labels"):
        found = ingest(archive([names[n % 4] for n in range(COUNT)], column=column))
        assert found.document["classes"] == names
    assert "one_label_each" in found.warnings
    doubtful = ingest(archive([[*names, "fox"][n % 5] for n in range(COUNT)], column="label"))
    assert "'red fox' is read as one class" in doubtful.warnings["labels_not_separated"]


def test_other_characters_are_part_of_a_name_and_told(ingest: Ingest) -> None:
    found = ingest(archive(["/".join(sorted(names)) for names in SETS]))
    assert "cat/outdoor" in found.document["classes"]
    assert "one_label_each" in found.warnings


def test_one_class_that_some_images_lack_is_a_question_as_well(ingest: Ingest) -> None:
    found = ingest(archive(["cat" if names else "" for names in SETS]))
    assert found.document["classes"] == ["cat"]
    assert sorted(set(found.images.label.tolist())) == [-1, 0]


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (["cat"] * COUNT, "one_class"),
        ([""] * COUNT, "no_labels"),
        (["|"] * COUNT, "no_labels"),
        (["a\tb|c"] * COUNT, "bad_label"),
        (["x" * 300 + "|c"] * COUNT, "bad_label"),
    ],
)
def test_labels_that_tell_nothing_apart(tmp_path: Path, cells: list[str], code: str) -> None:
    assert refusal(tmp_path, archive(cells)).code == code


def test_both_columns_are_one_too_many(tmp_path: Path) -> None:
    csv = table([["file", "label", "labels"], *([name, "a", "a|b"] for name in IMAGES)])
    assert refusal(tmp_path, zipped({"table.csv": csv} | IMAGES), format="csv").code == "bad_table"


def test_a_class_whose_images_cannot_be_read(tmp_path: Path) -> None:
    csv = table([["file", "labels"], *([name, "cat"] for name in IMAGES), ["bad.png", "cat|cow"]])
    failure = refusal(tmp_path, zipped({"table.csv": csv, "bad.png": b"x"} | IMAGES))
    assert failure.code == "empty_class"
    assert "'cow'" in failure.message


def test_too_many_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "MAX_TARGETS", 2 * COUNT - 1)
    assert refusal(tmp_path, GOOD).code == "too_many_classes"


def test_without_labels_the_column_does_not_matter(ingest: Ingest) -> None:
    found = ingest(GOOD, labelled=False)
    assert found.document["multi_label"] is False
    assert found.document["classes"] is None


def test_other_labels_other_digest(ingest: Ingest) -> None:
    """Also where every image's rarest class is the same."""
    one, other = (ingest(archive(["dog" if n % 4 else f"cat|{more}" for n in range(COUNT)])) for more in ("", "dog"))
    assert one.images.label.tolist() == other.images.label.tolist()
    assert one.document["sha256"] != other.document["sha256"]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=20))
def test_the_rarest_class(rows: list[list[bool]]) -> None:
    target = np.array(rows, np.uint8)
    count = target.sum(0)
    for row, label in zip(rows, classes.rarest(target).tolist(), strict=True):
        own = [k for k in range(3) if row[k]]
        assert label == min(own, key=lambda k: (count[k], k), default=-1)
