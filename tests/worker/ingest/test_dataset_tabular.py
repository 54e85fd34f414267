"""Tables that are no delimited text: JSON, JSON lines and lists, as labelling tools and benchmarks write them."""

import json
from pathlib import Path

import pytest

from tests.archives import encoded, examples, table, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal

NAMES = ["cat", "dog"]
PICTURES = [encoded(image) for image in examples(64, 2, (6, 6, 3)).images]  # cat and dog in turn
FILES = [f"{n:03}.png" for n in range(64)]
LABELS = [NAMES[n % 2] for n in range(16)]


def bare(root: str = "images", start: int = 0, count: int = 16) -> dict[str, bytes]:
    return {f"{root}/{FILES[n]}": PICTURES[n] for n in range(start, start + count)}


def classed(root: str, start: int = 0, count: int = 16) -> dict[str, bytes]:
    return {f"{root}/{NAMES[n % 2]}/{FILES[n]}": PICTURES[n] for n in range(start, start + count)}


def dumped(document: object) -> bytes:
    return json.dumps(document).encode()


def lines(objects: list[dict[str, object]]) -> bytes:
    return b"".join(dumped(entry) + b"\n" for entry in objects)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_hugging_faces_imagefolder(ingest: Ingest, suffix: str) -> None:
    """`metadata` in the folder of each split, file names from there."""
    members = {}
    for split, start in (("train", 0), ("test", 20)):
        entries = [{"file_name": FILES[n], "label": NAMES[n % 2], "text": "a, b"} for n in range(start, start + 16)]
        cells = [["file_name", "label"], *([entry["file_name"], entry["label"]] for entry in entries)]
        content = lines(entries) if suffix == "jsonl" else table(cells)
        members |= bare(split, start) | {f"{split}/metadata.{suffix}": content}
    found = ingest(zipped(members))
    assert (found.document["format"], found.document["classes"]) == ("csv", NAMES)
    assert found.document["splits"]["test"] == 16
    assert found.labels[:2] == NAMES


def test_captions_beside_folders_of_classes_are_no_labels(ingest: Ingest) -> None:
    captions = lines([{"file_name": name[6:], "text": "a cat"} for name in classed("train")])
    found = ingest(zipped(classed("train") | {"train/metadata.jsonl": captions}))
    assert (found.document["format"], found.document["classes"]) == ("folder", NAMES)


@pytest.mark.parametrize(
    "document",
    [
        [{"image": f"images/{FILES[n]}", "label": label, "width": 6} for n, label in enumerate(LABELS)],
        {FILES[n]: label for n, label in enumerate(LABELS)},
    ],
    ids=["objects", "pairs"],
)
def test_json_of_scripts(ingest: Ingest, document: object) -> None:
    assert ingest(zipped(bare() | {"labels.json": dumped(document)})).labels == LABELS


def task(n: int, *choices: str, cancelled: bool = False) -> dict[str, object]:
    """Label Studio's, with what it says of region and time."""
    value = {"type": "choices", "from_name": "kind", "to_name": "image", "value": {"choices": list(choices)}}
    result = [value | {"id": "x1", "origin": "manual"}]
    annotation = {"id": n, "completed_by": 1, "result": result, "was_cancelled": cancelled, "lead_time": 2.5}
    image = f"/data/upload/3/{n:08x}-{FILES[n]}"
    return {"id": n, "annotations": [annotation], "predictions": [], "data": {"image": image}, "project": 3}


@pytest.mark.parametrize("uploaded", [False, True])
def test_label_studios_json(ingest: Ingest, uploaded: bool) -> None:
    """The images as people have them, or as Label Studio renamed them when they were uploaded."""
    pictures = {f"images/{n:08x}-{FILES[n]}": PICTURES[n] for n in range(16)} if uploaded else bare()
    export = dumped([task(n, label) for n, label in enumerate(LABELS)])
    found = ingest(zipped(pictures | {"project-3-at-2026.json": export}))
    assert found.labels == LABELS
    assert "paths_matched_by_end" in found.warnings


def test_label_studios_several_choices_and_cancelled_ones(ingest: Ingest) -> None:
    tasks = [task(n, "cat", "dog") if n < 4 else task(n, LABELS[n], cancelled=n == 5) for n in range(16)]
    found = ingest(zipped(bare() | {"export.json": dumped(tasks)}))
    assert found.document["multi_label"]
    assert found.images.target is not None
    assert found.images.target[[0, 4, 5]].tolist() == [[1, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize(("suffix", "several"), [("json", False), ("json", True), ("csv", False)])
def test_label_studios_minimal_json_and_its_csv(ingest: Ingest, suffix: str, several: bool) -> None:
    rows = [
        {
            "annotation_id": n,
            "image": f"/data/local-files/?d=photos/{FILES[n]}",
            "choice": {"choices": NAMES} if several and n == 0 else label,
            "created_at": "2026-11-01T10:00:00Z",
        }
        for n, label in enumerate(LABELS)
    ]
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    found = ingest(zipped(bare() | {f"export.{suffix}": dumped(rows) if suffix == "json" else table(cells)}))
    assert found.document["classes"] == NAMES
    assert found.document["multi_label"] == several


def test_lists_of_caffe(ingest: Ingest) -> None:
    members = bare("train") | bare("val", 20)
    for split, start in (("train", 0), ("val", 20)):
        members[f"{split}.txt"] = "".join(f"{split}/{FILES[n]} {n % 2}\n" for n in range(start, start + 16)).encode()
    found = ingest(zipped(members))
    assert (found.document["format"], found.document["classes"]) == ("csv", ["0", "1"])
    assert found.document["splits"]["validation"] == 16


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("list_", ["val.txt", "val_map.txt", "data/val/val_list.txt"])
def test_imagenets_list_of_validation_images(ingest: Ingest, list_: str, named: bool) -> None:
    """Beside folders of classes its numbers are these, sorted by name."""
    labels = [NAMES[n % 2] if named else str(n % 2) for n in range(20, 36)]
    content = "".join(f"{FILES[20 + n]} {label}\n" for n, label in enumerate(labels)).encode()
    root = "data/" if "/" in list_ else ""
    found = ingest(zipped(classed(f"{root}train") | bare(f"{root}val", 20) | {list_: content}))
    assert (found.document["format"], found.document["classes"]) == ("folder", NAMES)
    assert found.document["counts"]["validation"] == [8, 8]
    assert found.images.label[found.images.rows("validation")].tolist() == [0, 1] * 8
    assert ("labels_listed" in found.warnings) != named


def test_numbers_beyond_the_classes_are_none(ingest: Ingest) -> None:
    content = "".join(f"{FILES[n]} {n}\n" for n in range(20, 36)).encode()
    found = ingest(zipped(classed("train") | bare("val", 20) | {"val.txt": content}))
    assert "split_unlabelled" in found.warnings


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.roboflow.txt", b"Dataset v3, exported on November 1\n\nhttps://example.org\n"),
        ("coco.json", dumped({"images": [], "annotations": [], "categories": []})),
        ("config.json", dumped({"width": 6, "name": "x"})),
        ("broken.json", b'{"a": '),
        ("list.json", dumped([1, 2])),
    ],
)
def test_other_json_and_text_is_no_table(ingest: Ingest, tmp_path: Path, name: str, content: bytes) -> None:
    assert ingest(zipped(classed("data") | {name: content})).document["classes"] == NAMES
    assert refusal(tmp_path, zipped(bare() | {name: content})).code == "no_labels"


def test_a_list_of_other_images_is_refused_in_words(tmp_path: Path) -> None:
    export = dumped([task(n, "cat") | {"data": {"image": f"/data/upload/3/{n}.heif.jpg"}} for n in range(4)])
    failure = refusal(tmp_path, zipped(bare() | {"export.json": export}))
    assert (failure.code, "export.json lists 4 files" in failure.message) == ("missing_files", True)
