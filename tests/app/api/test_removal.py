"""Deleting: refused while others depend on it, with their names; or all of it at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.app.api.world import made


def refused(response, *dependents):
    assert (response.status_code, response.json()["code"]) == (409, "has_dependents"), response.text
    assert [fault["param"] for fault in response.json()["errors"]] == sorted(dependents)


@pytest.fixture
def chain(world):
    """A file, its dataset, the model that a job made of it, and the checkpoint that this became."""
    model = world.model()
    dataset = world.get(f"/v1/datasets/{model['dataset']}")
    checkpoint = made(world.client.post("/v1/checkpoints", json={"name": "x", "model": model["id"]}), 202)
    return dataset["file"], dataset["id"], model["job"], model["id"], checkpoint["id"]


PATHS = ("files", "datasets", "jobs", "models", "checkpoints")


def test_what_others_depend_on_stays(client, chain):
    file, dataset, job, model, checkpoint = chain
    refused(client.delete(f"/v1/files/{file}"), dataset, job, model, checkpoint)
    refused(client.delete(f"/v1/datasets/{dataset}"), job, model, checkpoint)
    refused(client.delete(f"/v1/jobs/{job}"), model, checkpoint)
    refused(client.delete(f"/v1/models/{model}"), checkpoint)
    refused(client.delete(f"/v1/files/{file}", params={"cascade": "false"}), dataset, job, model, checkpoint)
    for path, id_ in zip(PATHS, chain, strict=True):
        assert client.get(f"/v1/{path}/{id_}").status_code == 200


def test_one_by_one_from_the_last(client, chain):
    for path, id_ in reversed(list(zip(PATHS, chain, strict=True))):
        assert client.delete(f"/v1/{path}/{id_}").status_code == 204
        assert client.get(f"/v1/{path}/{id_}").status_code == 404
        assert client.delete(f"/v1/{path}/{id_}").status_code == 404


def test_cascade_takes_all_of_it(world, client, chain):
    other = world.file()
    assert client.delete(f"/v1/files/{chain[0]}", params={"cascade": "true"}).status_code == 204
    for path, id_ in zip(PATHS, chain, strict=True):
        assert client.get(f"/v1/{path}/{id_}").status_code == 404
        assert client.get(f"/v1/{path}").json()["data"] == ([other] if path == "files" else [])


def test_a_model_that_is_deleted_leaves_its_job(client, chain):
    _, _, job, model, checkpoint = chain
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204
    assert client.delete(f"/v1/models/{model}").status_code == 204
    assert client.get(f"/v1/jobs/{job}").json()["model"] is None


def test_a_job_is_deleted_once_it_has_ended(world, client):
    job = world.queued_job()
    for path in (f"/v1/jobs/{job['id']}", f"/v1/datasets/{job['dataset']}?cascade=true"):
        response = client.delete(path)
        assert (response.status_code, response.json()["code"]) == (409, "wrong_status")
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}/events").status_code == 404


def test_another_owners_cascade_reaches_nothing(api, chain, client):
    stranger = api.as_owner(api.new_owner())
    assert stranger.delete(f"/v1/files/{chain[0]}", params={"cascade": "true"}).status_code == 404
    assert client.get(f"/v1/files/{chain[0]}").status_code == 200


def test_deleting_races_with_referring(world, client):
    """One of the two is too late; a dataset without its file never comes to be."""
    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            file = world.file(bytes([number]))["id"]
            made_ = pool.submit(client.post, "/v1/datasets", json={"name": "x", "file": file})
            deleted = pool.submit(client.delete, f"/v1/files/{file}")
            outcome = made_.result().status_code, deleted.result().status_code
            assert outcome in ((202, 409), (404, 204)), outcome


def test_a_route_deletes_its_own_kind_alone(world, client, chain):
    """By every route that deletes, with the ids of all other kinds: nothing is gone."""
    document = client.get("/openapi.json").json()
    routes = [path.removesuffix("/{id}") for path, verbs in document["paths"].items() if "delete" in verbs]
    routes = [path for path in routes if "{" not in path]
    assert {"/v1/datasets", "/v1/recommendations", "/v1/jobs/preflights", "/v1/checkpoints/identify"} <= set(routes)
    own = dict(zip([f"/v1/{path}" for path in PATHS], chain, strict=True))
    for route in routes:
        for path, id_ in own.items():
            if path != route:
                deleted = client.delete(f"{route}/{id_}", params={"cascade": "true"} if route in own else {})
                assert deleted.status_code in (403, 404), (route, id_, deleted.text)
    for path, id_ in own.items():
        assert world.get(f"{path}/{id_}")["id"] == id_
