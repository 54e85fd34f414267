"""The fast path gives what the route gives, byte by byte, and forgets what has changed."""

import os
import time

import pytest
from sqlalchemy import text

from app.db.session import Database
from tests.app.api.server import MIB
from tests.app.api.world import png
from tests.services import until

OF_NO_INTEREST = {"date", "connection", "content-length", "transfer-encoding"}


@pytest.fixture
def path(world):
    return f"/v1/models/{world.model()['id']}/predictions"


def fast(client, path, image=None, **headers):
    return client.post(
        path, content=png("top") if image is None else image, headers={"Content-Type": "image/png"} | headers
    )


def slow(client, path, image=None, **headers):
    """By the route: a request with an Idempotency-Key is none for the fast path."""
    return fast(client, path, image, **headers, **{"Idempotency-Key": os.urandom(8).hex()})


def same(client, path, status, image=None, **headers):
    answers = [ask(client, path, image, **headers) for ask in (fast, slow)]
    assert [answer.status_code for answer in answers] == [status, status]
    assert answers[0].content == answers[1].content
    kept = [{name: v for name, v in answer.headers.items() if name not in OF_NO_INTEREST} for answer in answers]
    assert kept[0] == kept[1]


def test_it_gives_what_the_route_gives(api, world, client, path):
    for question in ("", "?top_k=1", "?top_k=3", "?top_k=1000"):
        same(client, path + question, 200)
    same(client, f"/v1/checkpoints/{world.checkpoint()['id']}/predictions", 200)
    for image in (b"", b"text", png("top")[:50]):
        same(client, path, 422, image)
    same(client, path, 413, b"x" * (MIB + 1))
    same(client, path, 413, [b"x" * MIB, b"x"])  # in chunks, of a length that it does not announce
    for question in ("?top_k=0", "?top_k=x", "?top_k=1001"):
        same(client, path + question, 422)
    for other in (
        "/v1/models/model_nobody/predictions",
        "/v1/models/x/predictions",
        "/v1/checkpoints/ckpt_no/predictions",
    ):
        same(client, other, 404)
    same(client, f"/v1/checkpoints/{world.queued_checkpoint()['id']}/predictions", 409)
    same(client, f"/v1/models/{world.model(servable=False)['id']}/predictions", 409)
    same(api.as_owner("somebody"), path, 404)
    same(api.as_owner(world.owner, "read", "write"), path, 403)
    for header in ("", "Bearer", "Bearer x", "Basic x"):
        same(client, path, 401, Authorization=header)


def test_what_this_process_takes_back_is_gone_at_once(api, world, path):
    key = api.root.post("/v1/keys", json={"name": "short", "owner": world.owner, "scopes": ["predict"]}).json()
    client = api.client(key["key"])
    assert fast(client, path).status_code == 200
    assert api.root.delete(f"/v1/keys/{key['id']}").status_code == 204
    assert fast(client, path).status_code == 401
    assert fast(world.client, path).status_code == 200
    assert world.client.delete(path.removesuffix("/predictions")).status_code == 204
    assert fast(world.client, path).status_code == 404


def test_what_another_process_takes_back_is_gone_within_a_second(api, world, path):
    key = api.root.post("/v1/keys", json={"name": "short", "owner": world.owner, "scopes": ["predict"]}).json()
    client = api.client(key["key"])
    assert fast(client, path).status_code == 200
    database = Database(api.database_url)
    with database.unit_of_work() as db:
        db.execute(text("UPDATE keys SET revoked_at = 1 WHERE id = :id"), {"id": key["id"]})
    database.close()
    revoked = time.monotonic()
    until(lambda: fast(client, path).status_code == 401)
    assert time.monotonic() - revoked < 5  # one and what a busy machine adds


def test_it_is_counted_by_its_route(api, client, path):
    fast(client, path)
    told = api.anybody.get("/metrics").text
    assert 'regraft_requests_total{method="POST",route="/v1/models/{id}/predictions",status="200"}' in told
