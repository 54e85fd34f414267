"""What is refused leaves nothing behind, and what owners store is counted."""

import contextlib
import hashlib
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.contract.record import Record
from app.contract.results import AdaptedResult, CheckpointResult, DatasetResult
from app.methods.registry import parse
from tests import databases
from tests.app.api import server
from tests.app.api.server import MIB
from tests.app.api.world import PREPARED, REGISTERED, TRAINED, World, made
from tests.app.queue.queue_steps import claim
from tests.services import until
from tests.worker.supervisor.attempts import workplace
from worker.runtime.contract import Result
from worker.supervisor.attempt import attempt

SMALL = os.urandom(1000)
CROWD, WHOLE = 12, 24 * MIB  # uploads that are completed at once, and bytes of each


def stored(api):
    """Every file of the blob store, those that are being written among them."""
    return sorted(path.name for path in (api.home / "blobs").rglob("*") if path.is_file())


def refused(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


def form(*parts):
    lines = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%b"; filename="f"\r\n\r\n%b\r\n' % part for part in parts
    )
    return {"content": lines + b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def chunked(size):
    yield from (os.urandom(64 * 1024) for _ in range(size // (64 * 1024)))


def test_a_refused_file_leaves_no_blob(api, world):
    client = world.client
    world.file(SMALL)  # the folders are there
    before = stored(api)
    refused(client.post("/v1/files", content=chunked(5 * MIB)), 413, "too_large")
    refused(client.post("/v1/files", **form((b"file", os.urandom(3 * MIB)), (b"other", b"x"))), 422, "invalid_request")
    refused(client.post("/v1/files", **form((b"file", os.urandom(3 * MIB)), (b"file", b"x"))), 422, "invalid_request")
    cut = form((b"file", os.urandom(3 * MIB)))
    refused(client.post("/v1/files", **cut | {"content": cut["content"][:-9]}), 400, "bad_request")
    assert stored(api) == before


def test_the_same_key_with_another_body_leaves_no_blob(api, world):
    headers = {"Idempotency-Key": "stored-1"}
    file = made(world.client.post("/v1/files", content=SMALL, headers=headers), 201)
    before = stored(api)
    refused(world.client.post("/v1/files", content=os.urandom(500), headers=headers), 422, "idempotency_mismatch")
    assert made(world.client.post("/v1/files", content=SMALL, headers=headers), 201) == file
    assert stored(api) == before


def test_a_connection_that_breaks_leaves_no_blob(api, world):
    world.file(SMALL)
    before = stored(api)
    key = world.client.headers["Authorization"]
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as connection:
        head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: 3000000\r\n\r\n"
        connection.sendall(head.encode() + os.urandom(2 * MIB))
        until(lambda: stored(api) != before)
    until(lambda: stored(api) == before)


def test_a_refused_part_leaves_no_blob(api, world):
    client = world.client
    upload = made(client.post("/v1/uploads", json={"filename": "f"}), 201)["id"]
    made(client.put(f"/v1/uploads/{upload}/parts/1", content=SMALL), 200)
    before = stored(api)
    refused(client.put(f"/v1/uploads/{upload}/parts/1", content=os.urandom(999)), 409, "wrong_part")
    refused(client.put(f"/v1/uploads/{upload}/parts/3", content=os.urandom(999)), 409, "wrong_part")
    refused(client.put(f"/v1/uploads/{upload}/parts/2", content=chunked(5 * MIB)), 413, "too_large")
    made(client.put(f"/v1/uploads/{upload}/parts/1", content=SMALL), 200)
    assert stored(api) == before


def test_an_upload_that_is_not_what_was_announced_leaves_no_whole(api, world):
    client, parts = world.client, [os.urandom(700), os.urandom(800)]
    upload = made(client.post("/v1/uploads", json={"filename": "f", "sha256": "0" * 64}), 201)["id"]
    for number, part in enumerate(parts, 1):
        made(client.put(f"/v1/uploads/{upload}/parts/{number}", content=part), 200)
    before = stored(api)
    refused(client.post(f"/v1/uploads/{upload}/complete"), 422, "checksum_mismatch")
    assert stored(api) == before
    assert hashlib.sha256(b"".join(parts)).hexdigest() not in before


@pytest.fixture(scope="module")
def frugal(each_database, tmp_path_factory):
    """An API that gives each owner 100,000 bytes."""
    url = each_database.migrated()
    with server.serving(tmp_path_factory.mktemp("frugal"), url, REGRAFT_MAX_OWNER_BYTES="100000") as api:
        yield api


@pytest.fixture
def owner(frugal):
    return frugal.as_owner(frugal.new_owner())


def test_a_quota_counts_files_and_what_is_deleted_no_more(frugal, owner):
    first = made(owner.post("/v1/files", content=os.urandom(60_000)), 201)
    before = stored(frugal)
    refused(owner.post("/v1/files", content=os.urandom(60_000)), 507, "quota_exceeded")  # by what it says
    with contextlib.closing(chunked(128 * 1024)) as body:
        refused(owner.post("/v1/files", content=body), 507, "quota_exceeded")  # by what arrives
    assert stored(frugal) == before
    made(frugal.as_owner(frugal.new_owner()).post("/v1/files", content=os.urandom(60_000)), 201)  # it is one's own
    assert owner.delete(f"/v1/files/{first['id']}").status_code == 204
    made(owner.post("/v1/files", content=os.urandom(60_000)), 201)


def test_a_quota_counts_parts_and_completing_does_not_count_them_twice(frugal, owner):
    upload = made(owner.post("/v1/uploads", json={"filename": "f"}), 201)["id"]
    for number in (1, 2):
        made(owner.put(f"/v1/uploads/{upload}/parts/{number}", content=os.urandom(40_000)), 200)
    before = stored(frugal)
    refused(owner.put(f"/v1/uploads/{upload}/parts/3", content=os.urandom(40_000)), 507, "quota_exceeded")
    assert stored(frugal) == before
    assert made(owner.post(f"/v1/uploads/{upload}/complete"), 201)["bytes"] == 80_000


MADE: dict[str, tuple[Any, str, type[Record], dict[str, Any], tuple[str, ...]]] = {
    # who asks for it, the lane of its step, and what the step says and makes
    "datasets": (World.queued_dataset, "ingest", DatasetResult, PREPARED, ("pixels", "index")),
    "checkpoints": (World.queued_checkpoint, "ingest", CheckpointResult, REGISTERED, ("weights", "graph")),
    "jobs": (World.queued_job, "run", AdaptedResult, TRAINED, ("weights", "graph")),
}


def made_of(world, scratch, kind):
    """The object, once the worker's own loop was to publish two files of 25,000 bytes for it; and the files kept."""
    queued, lane, result, document, roles = MADE[kind]
    asked, before = queued(world), stored(world.api)
    artifacts = {role: scratch / role for role in roles}
    for path in artifacts.values():
        path.write_bytes(os.urandom(25_000))
    method = {"method": parse(asked["method"])} if "method" in asked else {}
    place = workplace(
        world.database,
        world.api.home,
        Result(result.load(document | method), artifacts),
        max_owner_bytes=100_000,
    )
    attempt(place, claim(world.database, lane=lane))
    return world.get(f"/v1/{kind}/{asked['id']}"), len(stored(world.api)) - len(before)


@pytest.mark.parametrize("kind", MADE)
def test_a_quota_counts_what_steps_make(frugal, tmp_path, kind):
    """The object says why it failed, nothing of it is kept, and it can be had again once there is room."""
    world = World(frugal, frugal.new_owner(), tmp_path)
    full = world.file(os.urandom(60_000))
    found, kept = made_of(world, tmp_path, kind)
    assert (found["status"], found["error"]["code"], kept) == ("failed", "quota_exceeded", 0)
    assert "100,000 are allowed" in found["error"]["message"]
    assert world.client.delete(f"/v1/files/{full['id']}").status_code == 204
    found, kept = made_of(world, tmp_path, kind)
    assert (found["status"] in ("ready", "succeeded"), kept) == (True, 2)
    world.close()


def peak_of_memory(process):
    """The most that it has had at a time, in bytes, since `clear_refs` was told to forget it (proc(5))."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return 1024 * int(found[1])


def test_many_uploads_that_are_completed_at_once_take_little_memory(tmp_path):
    """Less than two of them have bytes, whoever sends them: their parts are copied by pieces, and they take turns."""
    with (
        databases.opened("sqlite", tmp_path) as opened,
        server.serving(tmp_path / "home", opened.migrated(), REGRAFT_MAX_FILE_BYTES=str(WHOLE)) as api,
    ):
        owners = [api.as_owner(api.new_owner()) for _ in range(CROWD)]
        uploads = [made(owner.post("/v1/uploads", json={"filename": "f"}), 201)["id"] for owner in owners]
        part = os.urandom(WHOLE // 3)
        for owner, upload in zip(owners, uploads, strict=True):
            for number in (1, 2, 3):
                made(owner.put(f"/v1/uploads/{upload}/parts/{number}", content=part), 200)
        idle = psutil.Process(api.process.pid).memory_info().rss
        Path(f"/proc/{api.process.pid}/clear_refs").write_text("5")
        with ThreadPoolExecutor(CROWD) as pool:
            answers = pool.map(lambda owner, upload: owner.post(f"/v1/uploads/{upload}/complete"), owners, uploads)
            assert [made(answer, 201)["bytes"] for answer in answers] == [WHOLE] * CROWD
        assert peak_of_memory(api.process) - idle < 2 * WHOLE
