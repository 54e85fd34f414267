"""Measured preflights: asked, answered by a worker, and answered at once where the same was measured before."""

import pytest

from app.jobs import rehearsals
from app.queue import workers
from tests.app.api.world import World, made

ASKED = "/v1/jobs/preflight?measure=true"
FINE_TUNE = {"name": "fine_tune", "epochs": 3, "batch_size": 2}


@pytest.fixture
def job(world):
    return {"checkpoint": world.checkpoint()["id"], "dataset": world.dataset()["id"], "method": FINE_TUNE}


def test_it_is_ready_once_a_worker_has_measured_it(world, client, job):
    asked = made(client.post(ASKED, json=job), 202)
    assert (asked["object"], asked["status"], asked["fits"], asked["seconds"]) == ("preflight", "queued", None, None)
    assert asked["method"]["batch_size"] == 2
    assert asked["method"]["learning_rate"] is not None  # resolved
    path = f"/v1/jobs/preflights/{asked['id']}"
    assert world.get(path) == asked
    with world.running(asked["id"]):
        pass
    assert world.get(path)["status"] == "running"
    input = {"size": [9, 9], "channels": 1, "mean": [0.5], "std": [0.25]}
    world.finish_preflight(asked["id"], steps=9, step_seconds=0.1, input=input)
    found = world.get(path)
    assert (found["status"], found["fits"], found["suggestion"], found["device"]) == ("ready", True, None, "cpu")
    assert found["seconds"] == {"estimate": 8.0, "interval": [6.0, 10.0]}
    assert (found["memory_bytes"], found["available_bytes"], found["steps"]) == (2**20, 2**30, 9)
    assert found["input"] == {"size": [9, 9]}
    assert client.get("/v1/jobs").json()["data"] == []


def test_what_costs_the_same_is_answered_at_once(world, client, job):
    world.finish_preflight(made(client.post(ASKED, json=job), 202)["id"])
    like = world.checkpoint(name="the same network")["id"]
    for same in (
        job,
        job | {"seed": 7},
        job | {"checkpoint": like},
        job | {"method": FINE_TUNE | {"label_smoothing": 0.1, "scheduler": "step"}},
    ):
        again = made(client.post(ASKED, json=same), 202)
        assert (again["status"], again["seconds"]["estimate"]) == ("ready", 8.0)
    for other in (
        job | {"method": FINE_TUNE | {"batch_size": 3}},
        job | {"method": FINE_TUNE | {"epochs": 4}},
        job | {"dataset": world.dataset(published={"splits": {"train": 60, "validation": 0, "test": 3}})["id"]},
    ):
        assert made(client.post(ASKED, json=other), 202)["status"] == "queued"


def test_not_where_no_worker_of_that_kind_lives_any_more(world, client, job):
    world.finish_preflight(made(client.post(ASKED, json=job), 202)["id"])
    with world.database.unit_of_work() as db:
        workers.leave(db, "worker_1")
    assert made(client.post(ASKED, json=job), 202)["status"] == "queued"


def test_nor_for_another_owner(api, world, client, job, tmp_path):
    other_world = World(api, api.new_owner(), tmp_path)
    world.finish_preflight(made(client.post(ASKED, json=job), 202)["id"])
    theirs = {
        "checkpoint": other_world.checkpoint()["id"],
        "dataset": other_world.dataset()["id"],
        "method": FINE_TUNE,
    }
    assert made(other_world.client.post(ASKED, json=theirs), 202)["status"] == "queued"
    other_world.close()


def test_batches_that_do_not_fit_come_with_one_that_would(world, client, job):
    asked = made(client.post(ASKED, json=job), 202)
    world.finish_preflight(asked["id"], fits=False, batch_size=1)
    found = world.get(f"/v1/jobs/preflights/{asked['id']}")
    assert (found["fits"], found["suggestion"]) == (False, {"batch_size": 1})


def test_parts_may_still_be_processed(world, client, job):
    waiting = world.queued_dataset()["id"]
    asked = made(client.post(ASKED, json=job | {"dataset": waiting}), 202)
    assert asked["status"] == "queued"
    world.finish_dataset(waiting)
    with world.database.unit_of_work() as db:
        prepared = rehearsals.prepare(db, asked["id"])
    assert prepared.spec.method.model_dump()["learning_rate"] is not None
    world.finish_preflight(asked["id"])
    assert made(client.post(ASKED, json=job | {"dataset": waiting}), 202)["status"] == "ready"


def test_once_it_is_ready_nothing_depends_on_it(world, client, job):
    first, second = (
        made(client.post(ASKED, json=job | {"method": m}), 202)["id"] for m in (FINE_TUNE, {"name": "svm"})
    )
    world.finish_preflight(first)
    refused = client.delete(f"/v1/datasets/{job['dataset']}")
    assert [fault["param"] for fault in refused.json()["errors"]] == [second]
    assert client.delete(f"/v1/jobs/preflights/{second}").status_code == 204
    assert client.get(f"/v1/jobs/preflights/{second}").status_code == 404
    assert client.delete(f"/v1/datasets/{job['dataset']}").status_code == 204
    assert world.get(f"/v1/jobs/preflights/{first}")["status"] == "ready"


def test_no_other_object_goes_by_its_path(client, job):
    for id_ in (job["dataset"], job["checkpoint"]):
        assert client.delete(f"/v1/jobs/preflights/{id_}").status_code == 404
    assert client.get(f"/v1/datasets/{job['dataset']}").status_code == 200


def test_what_does_not_fit_is_refused_by_its_fields(client, job):
    refused = client.post(ASKED, json=job | {"method": FINE_TUNE | {"train_size": 100}})
    assert (refused.status_code, refused.json()["code"]) == (422, "does_not_fit")
    assert [fault["param"] for fault in refused.json()["errors"]] == ["method.train_size"]


def test_a_failure_says_why(world, client, job):
    asked = made(client.post(ASKED, json=job), 202)
    world.fail(asked["id"])
    found = world.get(f"/v1/jobs/preflights/{asked['id']}")
    assert (found["status"], found["error"]["code"], found["fits"]) == ("failed", "out_of_memory", None)


def test_at_once_it_says_what_the_network_sees(client, job):
    found = made(client.post("/v1/jobs/preflight", json=job), 200)
    assert found["input"] == {"size": [9, 9]}
    larger = job | {"method": FINE_TUNE | {"input": {"size": [12, 15]}}}
    assert made(client.post("/v1/jobs/preflight", json=larger), 200)["input"] == {"size": [12, 15]}
