"""What a job says of its turn: priority, how long it may run, and how many jobs an owner may have."""

import pytest

from tests.app.api import server
from tests.app.api.world import CLASSES, World, made


def test_a_job_says_on_what_terms_it_waits(world, client):
    job = world.queued_job()
    assert (job["priority"], job["max_seconds"]) == ("normal", None)
    dataset = job["dataset"]
    urgent = world.queued_job(dataset=dataset, priority="high", max_seconds=90)
    assert (urgent["priority"], urgent["max_seconds"]) == ("high", 90)
    ahead, behind = (world.get(f"/v1/jobs/{one['id']}")["queue_position"] for one in (urgent, job))
    assert ahead < behind
    for wrong in ({"priority": "urgent"}, {"max_seconds": 0}, {"max_seconds": -1}):
        body = {"dataset": dataset, "method": job["method"]} | wrong
        refused = client.post("/v1/jobs", json=body)
        assert (refused.status_code, refused.json()["param"]) == (422, next(iter(wrong)))


def test_questions_start_before_an_owners_jobs(world, client):
    job = world.queued_job()
    body = {"dataset": job["dataset"], "method": job["method"]}
    made(client.post("/v1/jobs/preflight?measure=true", json=body), 202)
    assert world.get(f"/v1/jobs/{job['id']}")["queue_position"] >= 1


@pytest.fixture(scope="module")
def narrow(each_database, tmp_path_factory):
    home, url = tmp_path_factory.mktemp("narrow"), each_database.migrated()
    with server.serving(home, url, REGRAFT_MAX_OWNER_TASKS="2") as api:
        yield api


def test_an_owner_has_no_more_than_the_server_allows(narrow, tmp_path):
    world = World(narrow, narrow.new_owner(), tmp_path)
    first = world.queued_job()
    asked = {"dataset": world.dataset()["id"], "checkpoints": [world.checkpoint()["id"]], "labels": "none"}
    recommendation = made(world.client.post("/v1/recommendations", json=asked), 202)["id"]
    body = {"dataset": first["dataset"], "method": first["method"]}
    checkpoint = world.checkpoint()["id"]
    tuned = {"dataset": world.validated()["id"], "checkpoint": checkpoint, "method": {"name": "fine_tune"}}
    for path, request in (
        ("/v1/jobs", body),
        ("/v1/jobs/preflight?measure=true", body),
        ("/v1/recommendations", {"dataset": first["dataset"], "checkpoints": [checkpoint]}),
        (f"/v1/recommendations/{recommendation}/labels", {"labels": [{"image": "sample_0", "label": CLASSES[0]}]}),
        ("/v1/sweeps", {"job": tuned, "space": {"method.epochs": [2, 3]}, "trials": 2}),
    ):
        refused = world.client.post(path, json=request)
        assert (refused.status_code, refused.json()["code"]) == (409, "too_many_tasks"), path
        assert " 2 " in refused.json()["detail"]
    assert len(world.get("/v1/jobs")["data"]) == 1  # nothing is half there
    assert not any(one["parent"] for one in world.get("/v1/datasets")["data"])
    made(world.client.post("/v1/jobs/preflight", json=body), 200)
    made(world.client.post(f"/v1/jobs/{first['id']}/cancel"), 200)
    third = made(world.client.post("/v1/jobs", json=body), 202)
    refused = world.client.post(f"/v1/jobs/{first['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_tasks")
    assert world.get(f"/v1/jobs/{first['id']}")["status"] == "cancelled"
    world.finish_job(third["id"])
    other = World(narrow, narrow.new_owner(), tmp_path / "other")
    (tmp_path / "other").mkdir()
    other.queued_job()
    made(world.client.post("/v1/jobs", json=body), 202)
    world.close()
    other.close()
