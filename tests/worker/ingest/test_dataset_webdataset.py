"""Images and labels side by side in one tar, as webdataset writes its shards."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.archives import encoded, examples, tarred, zipped
from tests.worker.ingest.conftest import Ingest
from tests.worker.ingest.ingested import refusal

PICTURES = [encoded(image) for image in examples(40, 2, (6, 6, 3)).images]  # of two classes in turn


def shard(start: int = 0, count: int = 20, suffix: str = "cls", **also: object) -> dict[str, bytes]:
    """Members in the order of keys, as `ShardWriter` puts them."""
    members = {}
    for n in range(start, start + count):
        label = n % 2
        beside = json.dumps({"label": label, **also}) if suffix == "json" else str(label)
        members |= {f"{n:06}.{suffix}": beside.encode(), f"{n:06}.png": PICTURES[n]}
    return members


def test_a_shard(ingest: Ingest) -> None:
    found = ingest(tarred(shard()))
    assert (found.document["format"], found.document["classes"], len(found.images)) == ("webdataset", ["0", "1"], 20)
    assert found.labels == ["0", "1"] * 10
    assert found.document["refused"] == []


def test_a_name_in_json_comes_before_a_number(ingest: Ingest) -> None:
    assert ingest(tarred(shard(suffix="json"))).document["classes"] == ["0", "1"]
    named = {
        name: json.dumps({"label": 0, "class_name": "cat" if int(name[:6]) % 2 else "dog"}).encode()
        if name.endswith("json")
        else content
        for name, content in shard(suffix="json").items()
    }
    assert ingest(tarred(named)).document["classes"] == ["cat", "dog"]


def test_cls_comes_before_json(ingest: Ingest) -> None:
    captions = {f"{n:06}.json": b'{"label": "other"}' for n in range(20)}
    assert ingest(tarred(shard() | captions)).document["classes"] == ["0", "1"]


def test_folders_are_splits(ingest: Ingest) -> None:
    members = {f"train/{name}": content for name, content in shard(suffix="cls.txt").items()}
    members |= {f"test/{name}": content for name, content in shard(20).items()}
    found = ingest(zipped(members))
    assert (found.document["format"], found.document["splits"]["test"]) == ("webdataset", 20)


def test_an_image_without_a_label_is_refused_and_told(ingest: Ingest) -> None:
    found = ingest(tarred({name: content for name, content in shard().items() if name != "000003.cls"}))
    assert [entry["name"] for entry in found.document["refused"]] == ["000003.png"]
    assert "files_refused" in found.warnings


def test_unlabelled(ingest: Ingest) -> None:
    assert len(ingest(tarred(shard()), labelled=False, format="webdataset").images) == 20


@pytest.mark.parametrize("beside", [{"json": b'{"shapes": []}'}, {"json": b"no JSON"}, {"txt": b"a cat on a mat"}])
def test_what_says_no_labels_is_no_webdataset(tmp_path: Path, ingest: Ingest, beside: Mapping[str, bytes]) -> None:
    """Polygons and captions beside the images of folders, which are the classes."""
    [(suffix, content)] = beside.items()
    members = {f"{'ab'[n % 2]}/{n}.png": PICTURES[n] for n in range(20)}
    others = {f"{'ab'[n % 2]}/{n}.{suffix}": content for n in range(20)}
    found = ingest(zipped(members | others))
    assert (found.document["format"], found.document["classes"]) == ("folder", ["a", "b"])
    failure = refusal(tmp_path, zipped(members | others), format="webdataset")
    assert failure.code == ("bad_table" if content == b"no JSON" else "no_labels")
