"""Datasets whose labels are added and corrected, over HTTP on a real service, to the models that learn from them."""

import json
from typing import Any

import numpy as np
import pytest

from regraft import ApiError, Unsuccessful
from tests.archives import encoded, examples, npz, table, zipped
from tests.services import Service

PICTURES = [encoded(image) for image in examples(40, 2, (8, 8, 3)).images]  # cat and dog in turn
NAMES = ["cat", "dog"]
TABLE = [["file", "label"], *([f"images/{n:02}.png", NAMES[n % 2]] for n in range(40))]
IMAGES = {f"images/{n:02}.png": picture for n, picture in enumerate(PICTURES)}


def network(classes: int) -> dict[str, Any]:
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": classes}]
    return {"name": "layers", "num_classes": classes, "options": {"input": [3, 8, 8], "layers": layers}}


def made(service: Service, content: bytes, **options: Any) -> dict[str, Any]:
    client = service.client
    created = client.datasets.create(content, name="brought", **options)
    client.datasets.wait(created.id, timeout_s=120)
    return shown(service, created.id)


def shown(service: Service, dataset: str) -> dict[str, Any]:
    """The dataset; its warnings by their codes."""
    document: dict[str, Any] = service.client.http.get(f"/v1/datasets/{dataset}").json()
    return document | {"told": {warning["code"]: warning["message"] for warning in document["warnings"]}}


def revised(service: Service, parent: dict[str, Any], labels: Any, filename: str = "l.csv", **options: Any) -> Any:
    client = service.client
    if isinstance(labels, bytes):
        options["labels_file"], labels = client.files.upload(labels, filename=filename).id, None
    created = client.datasets.revise(parent["id"], labels, **options)
    assert created.parent == parent["id"]
    client.datasets.wait(created.id, timeout_s=120)
    return shown(service, created.id)


def samples(service: Service, dataset: dict[str, Any]) -> dict[str, tuple[str, str | None, str]]:
    """Split, label and picture of each image by its name."""
    found = {}
    for split in dataset["splits"]:
        url = f"/v1/datasets/{dataset['id']}/samples?limit=100&split={split}"
        for one in service.client.http.get(url).json()["data"]:
            found[one["name"]] = (split, one["label"], one["image"])
    return found


def blobs(service: Service) -> int:
    return sum(path.is_file() and path.stat().st_size == 40 * 8 * 8 * 3 for path in (service.home / "blobs").rglob("*"))


def test_labels_are_corrected_and_the_parent_may_go(service: Service) -> None:
    """Other labels, the same images in the same splits, pixels stored once; what has changed is counted, and what names
    no image is told."""
    client = service.client
    content = zipped(IMAGES | {"t.csv": table(TABLE)})
    parent = made(service, content)
    before, stored = samples(service, parent), blobs(service)
    assert set(before) == set(IMAGES)
    corrections = [["image", "class"], ["images/00.png", "dog"], ["images/01.png", "dog"], ["C:\\me\\02.png", "hen"]]
    corrections += [["images/04.png", "hen"], ["images/06.png", ""], ["images/99.png", "cat"]]
    found = revised(service, parent, table(corrections), name="second", metadata={"by": "us"})
    assert (found["name"], found["parent"], found["metadata"]) == ("second", parent["id"], {"by": "us"})
    assert found["classes"] == [*NAMES, "hen"]
    assert found["revision"] == {
        "added": 0,
        "changed": 3,
        "unchanged": 1,
        "removed": 0,
        "blank": 1,
        "unknown": 1,
        "unknown_images": ["images/99.png"],
    }
    assert {"labels_without_image", "labels_blank", "classes_added", "splits_carved"} <= set(found["told"])
    assert "images/99.png" in found["told"]["labels_without_image"]
    wanted = {"images/00.png": "dog", "images/02.png": "hen", "images/04.png": "hen"}
    assert samples(service, found) == {
        name: (split, wanted.get(name, label), image) for name, (split, label, image) in before.items()
    }
    for field in ("splits", "mean", "std", "image", "format", "file", "duplicates", "refused"):
        assert found[field] == parent[field]
    assert [sum(counts) for counts in zip(*found["counts"].values(), strict=True)] == [17, 21, 2]
    assert found["sha256"] != parent["sha256"]
    assert blobs(service) == stored
    again = revised(service, found, table([["file", "label"], ["02.png", "cat"]]), name="third")
    assert (again["parent"], again["classes"]) == (found["id"], [*NAMES, "hen"])
    for gone in (parent, found):
        client.datasets.delete(gone["id"])
    assert samples(service, again)["images/02.png"][1] == "cat"
    job = client.jobs.create(method={"name": "train", "network": network(3), "epochs": 2}, dataset=again["id"])
    model = client.models.get(client.jobs.wait(job.id, timeout_s=120).model)
    assert model.classes == [*NAMES, "hen"]
    assert client.jobs.get(job.id).lineage["dataset_sha256"] == again["sha256"]


def test_images_without_labels_get_some(service: Service) -> None:
    """By Label Studio's export, where most tasks have not been labelled yet; what is learned is learned from these."""
    client = service.client
    parent = made(service, zipped(IMAGES), labelled=False)
    assert (parent["labelled"], parent["classes"]) == (False, None)
    tasks = [
        {
            "id": n,
            "data": {"image": f"/data/upload/1/{n:08x}-{n:02}.png"},
            "annotations": [
                {"result": [{"type": "choices", "value": {"choices": [NAMES[n % 2]]}}]},
            ]
            * (n < 24),
        }
        for n in range(40)
    ]
    found = revised(service, parent, json.dumps(tasks).encode(), "project-1.json")
    assert (found["labelled"], found["classes"], found["multi_label"]) == (True, NAMES, False)
    assert (found["revision"]["added"], found["revision"]["blank"]) == (24, 16)
    assert "16 of 40" in found["told"]["images_unlabelled"]
    labels = {name: label for name, (_, label, _) in samples(service, found).items()}
    assert labels == {f"images/{n:02}.png": NAMES[n % 2] if n < 24 else None for n in range(40)}
    job = client.jobs.create(method={"name": "train", "network": network(2), "epochs": 2}, dataset=found["id"])
    ended = client.jobs.wait(job.id, timeout_s=120)
    counts = [sum(count) for count in (found["counts"]["train"], found["counts"]["test"])]
    assert ended.evaluation.labels_used.startswith(f"{counts[0]} training labels")
    assert ended.evaluation.target.n == counts[1]


def test_a_few_labels_in_the_request(service: Service) -> None:
    """By the ids of samples, where images came as an array and have no names; and to have none any more."""
    data = examples(40, 2, (8, 8, 3))
    parent = made(service, npz(images=data.images, labels=data.labels))
    client = service.client
    page = client.datasets.samples(parent["id"], split="test")["data"]
    first, second = page[0], page[1]
    other = str(1 - int(first["label"]))
    found = revised(service, parent, {first["id"]: other, second["id"]: None, "sample_999": "1"})
    assert (found["revision"]["changed"], found["revision"]["removed"], found["revision"]["unknown"]) == (1, 1, 1)
    after = client.datasets.samples(found["id"], split="test")["data"]
    assert [one["label"] for one in after[:2]] == [other, None]
    assert [one["label"] for one in after[2:]] == [one["label"] for one in page[2:]]
    assert client.files.get(found["labels_file"]).filename == "labels.json"
    with pytest.raises(Unsuccessful) as refused:
        revised(service, parent, table([["file", "label"], ["000.png", "1"]]))
    assert refused.value.code == "missing_files"
    assert "sample_0 to sample_39" in refused.value.message


def test_several_labels_an_image(service: Service) -> None:
    lines = [[f"images/{n:02}.png", ("sun", "sea|sun", "sea")[n % 3]] for n in range(40)]
    parent = made(service, zipped(IMAGES | {"t.csv": table([["file", "labels"], *lines])}))
    corrections = [["file", "labels"], ["00.png", "sea|sky"], ["01.png", "sea|sun"], ["02.png", ""]]
    found = revised(service, parent, table(corrections))
    assert (found["multi_label"], found["classes"]) == (True, ["sea", "sun", "sky"])
    assert (found["revision"]["changed"], found["revision"]["unchanged"], found["revision"]["blank"]) == (1, 1, 1)
    none = revised(service, found, {"images/02.png": [], "images/03.png": ["sky", "sun"]})
    assert (none["revision"]["removed"], none["revision"]["changed"]) == (1, 1)
    [sky] = [sum(counts) for counts in zip(*none["counts"].values(), strict=True)][2:]
    assert sky == 2
    single = made(service, zipped(IMAGES | {"t.csv": table(TABLE)}))
    with pytest.raises(Unsuccessful) as refused:
        revised(service, single, {"images/02.png": ["cat", "dog"]})
    assert refused.value.code == "two_labels"


def test_numbers_of_classes_and_what_cannot_be_read(service: Service) -> None:
    parent = made(service, zipped(IMAGES | {"t.csv": table(TABLE)}))
    found = revised(service, parent, b"images/00.png 1\nimages/01.png 0\n", "list.txt")
    assert (found["classes"], found["revision"]["changed"]) == (NAMES, 2)
    assert "0 is cat" in found["told"]["classes_named"]
    for labels, code in (
        (table([["bild", "art"], ["images/00.png", "hen"]]), None),
        (table([["a", "b", "c"], ["x.png", "hen", "y"]]), "bad_table"),
        (table([["file", "label"], ["images/00.png", "hen"], ["images/00.png", "cat"]]), "two_labels"),
        (table([["file", "label"], *([name, "cat"] for name in IMAGES)]), "one_class"),
        (np.arange(300, dtype="<u2").tobytes(), "bad_table"),
        (b"", "bad_table"),
    ):
        if code is None:
            assert revised(service, parent, labels, columns={"image": "bild"})["revision"]["changed"] == 1
            continue
        with pytest.raises(Unsuccessful) as refused:
            revised(service, parent, labels)
        assert refused.value.code == code, refused.value


def test_who_may_and_while_it_is_made(service: Service) -> None:
    client = service.client
    content = zipped(IMAGES | {"t.csv": table(TABLE)})
    waiting = client.datasets.create(content, name="new")
    revision = client.datasets.revise(waiting.id, {"images/00.png": "dog"}, idempotency_key="once")
    assert client.datasets.revise(waiting.id, {"images/00.png": "dog"}, idempotency_key="once").id == revision.id
    assert client.datasets.wait(revision.id, timeout_s=120).revision.changed == 1
    for body, status in (
        ({"labels": []}, 422),
        ({"labels": [{"image": "a"}]}, 422),
        ({"labels": "file_0000000000"}, 404),
        ({"labels": [{"image": "a", "label": "b"}] * 100_001}, 422),
        ({"labels": [{"image": "a", "label": "b" * 256}] * 20_000}, 413),
        ({}, 422),
    ):
        assert client.http.post(f"/v1/datasets/{waiting.id}/revisions", json=body).status_code == status
    broken = client.datasets.create(b"no archive", name="broken")
    orphan = client.datasets.revise(broken.id, {"a": "b"})
    with pytest.raises(Unsuccessful) as failed:
        client.datasets.wait(orphan.id, timeout_s=60)
    assert failed.value.code == "dependency_failed"
    with pytest.raises(ApiError):
        client.datasets.revise("ds_0000000000", {"a": "b"})
