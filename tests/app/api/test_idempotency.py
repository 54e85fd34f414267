"""A request sent again has no second effect."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.app.api import server as servers
from tests.app.api.world import NETWORK, World, made, png
from tests.services import until


def key(name="a key"):
    return {"Idempotency-Key": name}


@pytest.fixture
def job(world):
    return {"dataset": world.dataset()["id"], "method": {"name": "train", "network": NETWORK}}


def jobs(client):
    return client.get("/v1/jobs").json()["data"]


def test_the_first_answer_again(client, job):
    first = client.post("/v1/jobs", json=job, headers=key())
    made(client.post(f"/v1/jobs/{first.json()['id']}/cancel"), 200)
    again = client.post("/v1/jobs", json=job, headers=key())
    assert (again.status_code, again.content) == (202, first.content)  # byte by byte, as it was then
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(jobs(client)) == 1


def test_without_a_key_every_request_counts(client, job):
    assert {client.post("/v1/jobs", json=job).status_code for _ in range(2)} == {202}
    assert len(jobs(client)) == 2


def test_another_request_under_the_same_key(client, job):
    made(client.post("/v1/jobs", json=job, headers=key()), 202)
    for path, body in (("/v1/jobs", job | {"seed": 1}), ("/v1/jobs/preflight", job), ("/v1/jobs?x=1", job)):
        response = client.post(path, json=body, headers=key())
        assert (response.status_code, response.json()["code"]) == (422, "idempotency_mismatch")
        assert response.json()["param"] == "Idempotency-Key"
    assert len(jobs(client)) == 1


def test_keys_are_of_their_owner(api, world, client):
    other = api.as_owner(api.new_owner())
    ids = {made(c.post("/v1/uploads", json={"filename": "a"}, headers=key()), 201)["id"] for c in (client, other)}
    assert len(ids) == 2


def test_a_refusal_does_not_use_up_the_key(client, job):
    assert client.post("/v1/jobs", json=job | {"seed": -1}, headers=key()).status_code == 422
    assert client.post("/v1/jobs", json=job | {"dataset": "ds_0000"}, headers=key()).status_code == 404
    assert client.post("/v1/jobs", json=job, headers=key()).status_code == 202


@pytest.mark.parametrize("bad", ["", "x" * 256, "\x80", "a\tb"])
def test_what_is_no_key(client, job, bad):
    response = client.post("/v1/jobs", json=job, headers={"Idempotency-Key": bad.encode("latin-1")})
    assert (response.status_code, response.json()["param"]) == (422, "Idempotency-Key")


def test_fifty_at_once_are_one_job(client, job):
    """Promise 13."""
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=job, headers=key()), range(50)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert len(set(accepted)) == 1
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"idempotency_in_flight"}
    assert all(a.headers["Retry-After"] == "1" for a in answers if a.status_code == 409)
    (only,) = jobs(client)
    assert only["id"] == accepted[0] == client.post("/v1/jobs", json=job, headers=key()).json()["id"]


def test_two_processes_agree(each_database, tmp_path):
    """Where nothing but the database can tell that the other is at work."""
    database_url = each_database.migrated()
    with servers.serving(tmp_path, database_url) as one, servers.serving(tmp_path, database_url) as two:
        clients = [one.root, two.root]
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda n: clients[n % 2].post("/v1/uploads", json={"filename": "a"}, headers=key()), range(32))
            )
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
        assert {answer.status_code for answer in answers} <= {201, 409}


def test_still_in_flight(client):
    """The body of the first is not there yet: the second is told to wait, and does not upload in vain."""

    def slowly():
        yield b"x"
        time.sleep(0.3)  # until it has arrived
        refused = client.post("/v1/files", content=b"x", headers=key())
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_in_flight")
        yield b"y"

    first = made(client.post("/v1/files", content=slowly(), headers=key()), 201)
    assert made(client.post("/v1/files", content=b"xy", headers=key()), 201) == first


def test_a_crash_leaves_the_key_free(each_database, tmp_path):
    with servers.serving(tmp_path, each_database.migrated()) as api:

        def cut_short():
            yield b"x"
            api.stop(signal.SIGKILL)
            yield b"y"

        with pytest.raises(servers.httpx.TransportError):
            api.root.post("/v1/files", content=cut_short(), headers=key())
        api.start()
        until(lambda: api.root.get("/readyz").status_code == 200)
        made(api.root.post("/v1/files", content=b"xy", headers=key()), 201)
        assert len(api.root.get("/v1/files").json()["data"]) == 1


def test_every_post_takes_a_key(api, world: World, client):
    """The same answer twice, and one effect; another body is refused."""
    checkpoint, dataset, model = world.checkpoint(), world.dataset(), world.model()
    upload = made(client.post("/v1/uploads", json={"filename": "a"}), 201)
    queued, paused, failed = (world.queued_job(dataset=dataset["id"])["id"] for _ in range(3))
    client.post(f"/v1/jobs/{paused}/pause")
    world.fail(failed)
    evaluate = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": {"name": "evaluate"}}
    image = {"headers": {"Content-Type": "image/png"}, "content": png("top")}
    other_image = image | {"content": png("bottom")}
    posts = [
        ("/v1/files", {"content": b"one"}, {"content": b"two"}),
        ("/v1/files", {"files": {"file": ("a", b"one")}}, {"files": {"file": ("b", b"one")}}),
        ("/v1/uploads", {"json": {"filename": "a"}}, {"json": {"filename": "b"}}),
        (f"/v1/uploads/{upload['id']}/complete", {}, {"json": {"a": 1}}),
        ("/v1/datasets", *({"json": {"name": n, "file": dataset["file"]}} for n in "ab")),
        (
            f"/v1/datasets/{dataset['id']}/revisions",
            *({"json": {"labels": [{"image": "a", "label": n}]}} for n in "ab"),
        ),
        ("/v1/checkpoints", *({"json": {"name": n, "model": model["id"]}} for n in "ab")),
        ("/v1/jobs", {"json": evaluate}, {"json": evaluate | {"seed": 2}}),
        ("/v1/jobs/preflight", {"json": evaluate}, {"json": evaluate | {"seed": 2}}),
        (f"/v1/jobs/{queued}/pause", {}, {"json": {"a": 1}}),
        (f"/v1/jobs/{paused}/resume", {}, {"json": {"a": 1}}),
        (f"/v1/jobs/{failed}/retry", {}, {"json": {"a": 1}}),
        (f"/v1/jobs/{queued}/cancel", {}, {"json": {"a": 1}}),
        (f"/v1/models/{model['id']}/predictions", image, other_image),
        (f"/v1/models/{model['id']}/predictions", {"json": {"images": ["aaaa"]}}, image),
        (f"/v1/models/{model['id']}/embeddings", image, other_image),
        (f"/v1/checkpoints/{checkpoint['id']}/predictions", image, other_image),
    ]
    for number, (path, request, other) in enumerate(posts):

        def post(request, path=path, number=number):
            return client.post(path, **request | {"headers": request.get("headers", {}) | key(f"{number}")})

        first, again = post(request), post(request)
        if first.is_success:
            assert (again.status_code, again.json()) == (first.status_code, first.json()), path
            assert again.headers["Idempotent-Replayed"] == "true", path
            assert post(other).json()["code"] == "idempotency_mismatch", path
        else:
            assert first.status_code == again.status_code == 422, (path, first.text)
