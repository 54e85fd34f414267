"""Weights over HTTP: ranges, conditions, and a digest that is the ETag (RFC 9110)."""

import hashlib
import time

import pytest

from app.removal import repository
from tests.app.api.world import WEIGHTS, made

SIZE = len(WEIGHTS)
TAG = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'


@pytest.fixture
def path(world):
    return f"/v1/models/{world.model()['id']}/weights"


def test_the_whole(client, path):
    response = client.get(path)
    assert (response.status_code, response.content) == (200, WEIGHTS)
    assert response.headers["ETag"] == TAG
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["Content-Disposition"].endswith('.safetensors"')
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("ETag", "Content-Length", "Accept-Ranges", "Content-Type", "Content-Disposition"):
        assert head.headers[name] == response.headers[name]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=100-", 100, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-999999999", 0, SIZE),
        ("bytes=10-999999999", 10, SIZE),
    ],
)
def test_a_range(client, path, asked, start, end):
    response = client.get(path, headers={"Range": asked})
    assert (response.status_code, response.content) == (206, WEIGHTS[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(end - start)
    assert client.head(path, headers={"Range": asked}).headers["Content-Range"] == response.headers["Content-Range"]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=999999999-", "bytes=5-4", "bytes=-0"])
def test_a_range_that_there_is_not(client, path, asked):
    response = client.get(path, headers={"Range": asked})
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "bytes=" + "9" * 30 + "-"])
def test_a_range_that_is_not_understood_gives_the_whole(client, path, asked):
    response = client.get(path, headers={"Range": asked})
    assert (response.status_code, response.content) == (200, WEIGHTS)


def test_ten_thousand_ranges_are_answered_quickly(client, path):
    begun = time.monotonic()
    response = client.get(path, headers={"Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))})
    assert response.status_code in (200, 431)
    assert time.monotonic() - begun < 2


def test_a_broken_download_goes_on(client, path):
    first = client.get(path, headers={"Range": "bytes=0-1000"})
    rest = client.get(path, headers={"Range": "bytes=1001-", "If-Range": first.headers["ETag"]})
    assert first.content + rest.content == WEIGHTS
    changed = client.get(path, headers={"Range": "bytes=1001-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, WEIGHTS)


@pytest.mark.parametrize("tags", [TAG, f"W/{TAG}", f'"other", {TAG}', "*"])
def test_what_has_not_changed_is_not_sent(client, path, tags):
    for method in ("GET", "HEAD"):
        response = client.request(method, path, headers={"If-None-Match": tags})
        assert (response.status_code, response.content, response.headers["ETag"]) == (304, b"", TAG)


def test_conditions_that_do_not_hold(client, path):
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get(path, headers={"If-Match": TAG}).status_code == 200
    response = client.get(path, headers={"If-Match": '"other"'})
    assert (response.status_code, response.json()["code"]) == (412, "precondition_failed")


def test_formats(world, client, path):
    assert client.get(path, params={"format": "onnx"}).headers["Content-Disposition"].endswith('.onnx"')
    assert client.get(path, params={"format": "pt"}).status_code == 422
    plain = world.model(servable=False)
    response = client.get(f"/v1/models/{plain['id']}/weights", params={"format": "onnx"})
    assert (response.status_code, response.json()["code"]) == (409, "not_servable")
    assert client.get(f"/v1/models/{plain['id']}/weights").content == WEIGHTS


def test_checkpoints_too(world, client):
    assert client.get(f"/v1/checkpoints/{world.checkpoint()['id']}/weights").content == WEIGHTS
    waiting = made(client.get(f"/v1/checkpoints/{world.queued_checkpoint()['id']}"), 200)
    response = client.get(f"/v1/checkpoints/{waiting['id']}/weights")
    assert (response.status_code, response.json()["code"]) == (409, "not_ready")


def test_an_adapter(world, client, path):
    job = world.queued_job()
    world.finish_job(job["id"], adapter=b"corrections")
    model = world.get(f"/v1/jobs/{job['id']}")["model"]
    response = client.get(f"/v1/models/{model}/weights", params={"format": "adapter"})
    assert (response.status_code, response.content) == (200, b"corrections")
    assert response.headers["Content-Disposition"].endswith('.adapter.safetensors"')
    none = client.get(path, params={"format": "adapter"})
    assert (none.status_code, none.json()["code"]) == (404, "not_found")
    assert "lora" in none.json()["detail"]


def test_adapters_are_not_tidied_up(world):
    """Blobs that no row mentions are deleted."""
    world.finish_job(world.queued_job()["id"], adapter=b"corrections")
    with world.database.unit_of_work() as db:
        assert hashlib.sha256(b"corrections").hexdigest() in repository.referenced(db)
