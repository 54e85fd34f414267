"""Every refusal is application/problem+json with a stable code, and says where the fault is."""

import json
import shutil

import pytest
from sqlalchemy import update

from app.db.tables import ModelRow
from tests.app.api import server as servers
from tests.app.api.world import NETWORK, World, made, png
from tests.services import until

IMAGE = {"Content-Type": "image/png"}
DEEP = b'{"name":' + b"[" * 30_000 + b"]" * 30_000 + b"}"


def problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    found = response.json()
    assert set(found) >= {"type", "title", "status", "detail", "code"}
    assert (found["status"], found["code"], found["type"]) == (status, code, f"urn:regraft:problem:{code}")
    return found


def test_no_such_path(api, client):
    for path in ("/v1/nothing", "/v1", "/v1/", "/v1/jobs/", "/v1/jobs/x/y/z"):
        problem(client.get(path), 404, "not_found")
    for path in ("/nothing", "/docs/nothing", "/docs/..%2f..%2f__init__.py"):
        problem(api.anybody.get(path), 404, "not_found")


@pytest.mark.parametrize(
    "id", ["nonsense", "job_0000000000", "ds_0000000000", "job_" + "x" * 5000, "job_%00", "job_%ed%a0%80"]
)
def test_no_such_object(client, id):
    for path in ("", "/events", "/metrics"):
        problem(client.get(f"/v1/jobs/{id}{path}"), 404, "not_found")
    problem(client.post(f"/v1/jobs/{id}/cancel"), 404, "not_found")
    problem(client.delete(f"/v1/jobs/{id}"), 404, "not_found")


def test_no_such_method(client):
    response = client.put("/v1/jobs")
    problem(response, 405, "method_not_allowed")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "POST"}
    assert client.patch("/v1/jobs/job_0000").headers["Allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "no JSON"),
        (b"name=x", "no JSON"),
        (b'{"name": NaN}', "no JSON"),
        (b'{"name": -Infinity}', "no JSON"),
        (b'{"name": "\\ud800"}', "no JSON"),
        (b'{"name": "\xff"}', "no JSON"),
        (DEEP, "no JSON"),
        (b"", "Field required"),
        (b"null", None),
        (b"[]", None),
        (b'"x"', None),
        (b"1" * 5000, None),
    ],
)
def test_what_is_no_request(client, body, says):
    response = client.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
    found = problem(response, 422, "invalid_request")
    assert len(found["errors"]) >= 1
    assert says is None or says in found["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1", "0", "1e308", "1e999", '"x"', "[]", "-1e-400"])
def test_numbers_out_of_bounds(world, client, number):
    dataset = world.dataset()["id"]
    network = json.dumps(NETWORK)
    body = f'{{"dataset":"{dataset}","method":{{"name":"train","network":{network},"learning_rate":{number}}}}}'
    response = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    found = problem(response, 422, "invalid_request")
    assert found.get("param") in ("method.learning_rate", None)
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"seed": 1.5}, "seed", "int_from_float"),
        ({"unknown": 1}, "unknown", "extra_forbidden"),
        ({"dataset": None}, "dataset", "string_type"),
        ({"dataset": "../x"}, "dataset", "string_pattern_mismatch"),
        ({"metadata": {"a": 1}}, "metadata.a", "string_type"),
        ({"metadata": {"a": "b\0"}}, "metadata.a", "value_error"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "too_long"),
        ({"method": {}}, "method", "union_tag_not_found"),
        ({"method": {"name": "magic"}}, "method", "union_tag_invalid"),
        ({"method": {"name": "train"}}, "method.network", "missing"),
        ({"method": {"name": "fine_tune", "epochs": 0}}, "method.epochs", "greater_than_equal"),
        ({"method": {"name": "fine_tune", "epochs": 10**9}}, "method.epochs", "less_than_equal"),
        ({"method": {"name": "fine_tune", "epoch": 1}}, "method.epoch", "extra_forbidden"),
        ({"method": {"name": "fine_tune", "early_stopping": {"patience": 0}}}, "method.early_stopping.patience", None),
        ({"method": {"name": "fine_tune", "augmentation": [{"name": "random_crop", "padding": 0}]}}, None, None),
        ({"name": ""}, "name", "too_short"),
        ({"name": "x" * 257}, "name", "too_long"),
    ],
)
def test_faults_are_named_by_their_path_in_the_body(client, changes, param, code):
    body = {"dataset": "ds_0000", "checkpoint": "ckpt_0000", "method": {"name": "fine_tune"}} | changes
    found = problem(client.post("/v1/jobs", json=body), 422, "invalid_request")
    if param is not None:
        assert found["param"] == found["errors"][0]["param"] == param
    if code is not None:
        assert found["errors"][0]["code"] == code
    assert all(set(fault) == {"param", "detail", "code"} for fault in found["errors"])


def test_the_path_of_a_fault_in_one_of_several_forms(client):
    """What Pydantic says of the alternatives that it tried is no part of the user's document."""
    fault = {"dataset": "ds_0000", "checkpoint": "ckpt_0000", "method": {"name": "fine_tune"}}
    fault["method"]["augmentation"] = [{"name": "horizontal_flip"}, {"name": "random_crop", "padding": 0}]
    found = client.post("/v1/jobs", json=fault).json()
    assert "method.augmentation.1.padding" in [one["param"] for one in found["errors"]]
    missing = client.post("/v1/checkpoints", json={"name": "x"}).json()
    assert missing["param"] == "file"
    nested = client.post("/v1/checkpoints", json={"name": "x", "file": "file_0000", "network": {"name": "cnn3"}}).json()
    assert nested["param"] == "network.num_classes"
    both = client.post("/v1/checkpoints", json={"name": "x", "model": "model_0000", "pretrained": "timm/x"}).json()
    assert both["code"] == "invalid_request"


def test_a_hundred_faults_are_enough(client):
    found = client.post("/v1/keys", json={}, headers={}).json()
    assert found["code"] == "missing_scope"
    body = {"dataset": "ds_0000", "method": {"name": "evaluate"}} | {f"x{n}": n for n in range(1000)}
    assert len(client.post("/v1/jobs", json=body).json()["errors"]) == 100


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_another_media_type(client, kind):
    response = client.post("/v1/jobs", content=b"{}", headers={"Content-Type": kind})
    problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/job_0000/cancel", "/v1/uploads"])
def test_a_body_that_is_too_large(client, path, announced):
    content = b'{"name":"' + b"x" * 64 * 1024 + b'"}'
    headers = {"Content-Type": "application/json"}
    response = client.post(path, content=content if announced else iter([content]), headers=headers)
    problem(response, 413, "too_large")


def test_what_is_wrong_on_our_side_tells_nothing_of_our_insides(api, world, client):
    model = world.model()
    with world.database.unit_of_work() as db:
        db.execute(
            update(ModelRow).where(ModelRow.id == model["id"]).values(sha256=None)
        )  # as no code of ours leaves it
    found = problem(client.get(f"/v1/models/{model['id']}"), 500, "internal")
    assert "Error" not in json.dumps(found)
    until(lambda: "ValidationError" in api.log.read_text(), 5)


def test_a_file_that_is_gone_is_named(each_database, tmp_path):
    """Whatever is asked of the object that it belongs to; and when it is back, so is the object.

    The API is one that has loaded no network yet: what is in memory is served without its file."""
    with servers.serving(tmp_path / "home", each_database.migrated()) as api:
        world = World(api, "ann", tmp_path)
        client, dataset, model = world.client, world.dataset(), world.model()
        asked = (
            lambda: client.get(f"/v1/datasets/{dataset['id']}/samples"),
            lambda: client.get(f"/v1/models/{model['id']}/weights"),
            lambda: client.get(f"/v1/models/{model['id']}/weights", headers={"Range": "bytes=0-3"}),
            lambda: client.post(f"/v1/models/{model['id']}/predictions", content=png("top"), headers=IMAGE),
            lambda: client.post(f"/v1/models/{model['id']}/predictions", files={"images": png("top")}),
            lambda: client.post(f"/v1/models/{model['id']}/embeddings", content=png("top"), headers=IMAGE),
        )
        blobs, away = api.home / "blobs", api.home / "away"
        blobs.rename(away)
        blobs.mkdir()
        try:
            for ask in asked:
                problem(ask(), 500, "blob_lost")
        finally:
            shutil.rmtree(blobs)
            away.rename(blobs)
        for ask in asked:
            assert ask().is_success
        world.close()


def test_a_file_that_is_damaged_is_named(each_database, tmp_path):
    """It is there, with other bytes than were stored; whoever asks cannot help it, and is told what happened."""
    with servers.serving(tmp_path / "home", each_database.migrated()) as api:
        world = World(api, "ann", tmp_path)
        dataset, model = world.dataset(), world.model()
        asked = (
            lambda: world.client.get(f"/v1/datasets/{dataset['id']}/samples"),
            lambda: world.client.post(f"/v1/models/{model['id']}/predictions", content=png("top"), headers=IMAGE),
            lambda: world.client.post(f"/v1/models/{model['id']}/embeddings", content=png("top"), headers=IMAGE),
            lambda: world.client.post(
                f"/v1/models/{model['id']}/predictions?adapt=tent", content=png("top"), headers=IMAGE
            ),
        )
        stored = {path: path.read_bytes() for path in (api.home / "blobs" / "sha256").rglob("*") if path.is_file()}
        for path, content in stored.items():
            path.write_bytes(content[: len(content) // 2])
        for ask in asked:
            assert "damaged" in problem(ask(), 500, "blob_lost")["detail"]
        for path, content in stored.items():
            path.write_bytes(content)
        for ask in asked[:3]:  # nobody has made weights here that PyTorch could read
            assert ask().is_success
        world.close()


@pytest.mark.parametrize(  # a file does not go away
    "each_database", [pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))], indirect=True
)
def test_a_database_that_is_away(each_database, tmp_path):
    """503 with Retry-After, and back within seconds; the process lives."""
    with servers.serving(tmp_path, each_database.migrated()) as api, each_database.away(api.database_url):
        response = api.root.get("/v1/jobs")
        problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        problem(api.root.post("/v1/uploads", json={"filename": "a"}), 503, "unavailable")
        problem(api.anybody.get("/readyz"), 503, "unavailable")
        made(api.anybody.get("/healthz"), 200)
        each_database.back(api.database_url)
        until(lambda: api.root.get("/v1/jobs").status_code == 200, 5)
        assert api.root.post("/v1/uploads", json={"filename": "a"}).status_code == 201
