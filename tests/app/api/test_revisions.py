"""What a revision needs, shares and counts for, on both databases; how labels are read is tested with a worker."""

from typing import Any

import pytest

from app.contract.blobs import Written
from app.contract.results import RevisionResult
from app.datasets import revisions
from app.queue import service as queue
from app.usage import repository as usage
from tests.app.api.world import CLASSES, World, made

PIXELS, INDEX = 1000, 10  # bytes of the parent's, and of an index
REPORT = {"added": 0, "changed": 1, "unchanged": 2, "removed": 0, "blank": 0, "unknown": 1, "unknown_images": ["x.png"]}
REVISED = {
    "labelled": True,
    "classes": [*CLASSES, "left"],
    "multi_label": False,
    "counts": {"train": [2, 2, 1, 1], "validation": [0] * 4, "test": [1, 1, 1, 0]},
    "sha256": "e" * 64,
    "pixel_bytes": PIXELS,
    "report": REPORT,
}


def queued(world: World, parent: str) -> dict[str, Any]:
    body = {"labels": [{"image": "sample_0", "label": "left"}]}
    return made(world.client.post(f"/v1/datasets/{parent}/revisions", json=body), 202)


def finish(world: World, revision: str) -> dict[str, Any]:
    index = world.blobs.put([revision.encode()]).sha256
    with world.running(revision) as (db, task):
        revisions.publish(db, revision, RevisionResult.load(REVISED), Written({"index": index}, INDEX))
        queue.succeed(db, task)
    return world.get(f"/v1/datasets/{revision}")


def stored(world: World) -> int:
    """Bytes of all that the owner has, but for its files."""
    with world.database.reading() as db:
        files = world.get("/v1/files?limit=100")["data"]
        return usage.stored_bytes(db, world.owner) - sum(file["bytes"] for file in files)


@pytest.fixture
def parent(world: World) -> str:
    """A dataset that counts for its pixels and its index."""
    dataset = world.queued_dataset()["id"]
    world.finish_dataset(dataset, stored_bytes=PIXELS + INDEX)
    return dataset


def test_a_revision_shows_what_it_is(world: World, parent: str) -> None:
    asked = queued(world, parent)
    assert (asked["parent"], asked["revision"], asked["status"]) == (parent, None, "processing")
    assert asked["name"] == "bars"
    assert world.get(f"/v1/files/{asked['labels_file']}")["filename"] == "labels.json"
    found, before = finish(world, asked["id"]), world.get(f"/v1/datasets/{parent}")
    assert (found["status"], found["classes"], found["revision"]) == ("ready", REVISED["classes"], REPORT)
    for field in ("image", "splits", "mean", "std", "refused", "format", "file"):
        assert found[field] == before[field]
    assert (before["parent"], before["revision"], before["labels_file"]) == (None, None, None)


def test_until_it_is_made_it_needs_its_parent(world: World, parent: str) -> None:
    revision = queued(world, parent)["id"]
    refused = world.client.delete(f"/v1/datasets/{parent}")
    assert (refused.status_code, refused.json()["code"]) == (409, "has_dependents")
    finish(world, revision)
    assert world.client.delete(f"/v1/datasets/{parent}").status_code == 204
    found = world.get(f"/v1/datasets/{revision}")
    assert (found["parent"], found["status"]) == (parent, "ready")
    assert world.client.delete(f"/v1/datasets/{revision}").status_code == 204


def test_pixels_count_once_as_long_as_anybody_has_them(world: World, parent: str) -> None:
    first, second = (finish(world, queued(world, parent)["id"])["id"] for _ in range(2))
    assert stored(world) == PIXELS + 3 * INDEX
    for gone, left in ((parent, 2), (first, 1), (second, 0)):
        assert world.client.delete(f"/v1/datasets/{gone}").status_code == 204
        assert stored(world) == (PIXELS + left * INDEX if left else 0)


def test_a_parent_that_stays_goes_on_counting(world: World, parent: str) -> None:
    revision = finish(world, queued(world, parent)["id"])["id"]
    assert world.client.delete(f"/v1/datasets/{revision}").status_code == 204
    assert stored(world) == PIXELS + INDEX


def test_a_strangers_dataset_is_not_revised(world: World, parent: str) -> None:
    stranger = world.api.as_owner(world.api.new_owner())
    body = {"labels": [{"image": "a", "label": "b"}]}
    assert stranger.post(f"/v1/datasets/{parent}/revisions", json=body).status_code == 404
    assert stranger.get("/v1/files").json()["data"] == []  # nothing of it is kept
