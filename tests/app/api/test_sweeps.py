"""Sweeps from the request to the winner: trials are drawn a few at a time, race, and are compared."""

import pytest

from tests.app.api.test_tournaments import finish, move, score
from tests.app.api.world import made

PATH = "/v1/sweeps"
RATES = {"method.learning_rate": {"log": [1e-4, 1e-1]}, "method.epochs": [18, 27]}
SHAPE = {"id", "object", "created_at", "name", "status", "error", "dataset", "checkpoint", "method", "space", "trials"}
SHAPE |= {"pruner", "budget_s", "seed", "rungs", "seconds", "candidates", "winner", "because", "label_use", "warnings"}
SHAPE |= {"metadata"}


@pytest.fixture
def job(world):
    checkpoint, dataset = world.checkpoint(), world.validated()
    return {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": {"name": "fine_tune"}, "seed": 4}


@pytest.fixture
def sweep(client, job):
    def sweep(space=RATES, trials=9, method=None, **options):
        body = {"job": job | ({"method": method} if method else {}), "space": space, "trials": trials} | options
        return made(client.post(PATH, json=body), 202)

    return sweep


def state(world, sweep):
    found = world.get(f"{PATH}/{sweep['id']}")
    return found, {one["number"]: one for one in found["candidates"]}


def test_a_third_is_drawn_at_once_and_each_is_a_job(world, sweep, job):
    asked = sweep(name="rates", metadata={"for": "us"}, seed=1, job=job | {"priority": "low", "max_seconds": 60})
    assert set(asked) == SHAPE
    assert (asked["object"], asked["status"], asked["trials"], asked["pruner"]) == ("sweep", "running", 9, "halving")
    assert asked["method"] == {"name": "fine_tune"}
    assert len(asked["candidates"]) == 3
    for one in asked["candidates"]:
        found = world.get(f"/v1/jobs/{one['job']}")
        assert (found["tournament"], found["seed"]) == (asked["id"], 4)
        assert (found["priority"], found["max_seconds"]) == ("low", 60)
        assert found["method"]["learning_rate"] == one["drawn"]["method.learning_rate"]
        assert found["method"]["epochs"] == one["drawn"]["method.epochs"]
    again = sweep(seed=1)
    assert [one["drawn"] for one in again["candidates"]] == [one["drawn"] for one in asked["candidates"]]


def test_trials_race_and_the_next_are_drawn_by_what_they_came_to(world, sweep):
    asked = sweep(trials=6)
    move(world)
    drawn = {}
    while (found := state(world, asked)[0])["status"] == "running":
        _, by_number = state(world, asked)
        drawn |= {number: one["drawn"] for number, one in by_number.items()}
        for one in by_number.values():
            if one["status"] != "queued":
                continue
            right = 20 + one["number"]
            if one["rung"] < 2:
                score(world, one["job"], right, (1 / 9, 1 / 3)[one["rung"]])
            else:
                finish(world, one["job"], right)
        move(world)
    assert found["status"] == "succeeded"
    assert sorted(drawn) == [1, 2, 3, 4, 5, 6]
    assert found["winner"]["number"] == 6, "each was better than those before"
    statuses = {one["number"]: one["status"] for one in found["candidates"]}
    assert {statuses[2], statuses[6]} == {"finished"}
    assert statuses[1] == "eliminated"
    types = [event["type"] for event in world.get(f"{PATH}/{asked['id']}/events?limit=100")["data"]]
    assert types.count("drawn") == 1
    assert types[-1] == "succeeded"


def test_without_a_pruner_all_run_to_their_end(world, sweep):
    asked = sweep({"method.alpha": {"log": [0.1, 10]}}, 3, {"name": "ridge"}, pruner="none")
    assert (asked["rungs"], len(asked["candidates"])) == ([], 2)
    for number in (1, 2):
        finish(world, state(world, asked)[1][number]["job"], 10)
    move(world)
    found, by_number = state(world, asked)
    assert (found["status"], len(by_number)) == ("running", 3)
    finish(world, by_number[3]["job"], 11)
    move(world)
    assert state(world, asked)[0]["winner"]["number"] == 3


def test_a_budget_ends_the_drawing(world, sweep):
    asked = sweep({"method.alpha": {"log": [0.1, 10]}}, 100, {"name": "ridge"}, budget_s=200)
    assert len(asked["candidates"]) == 34
    for one in asked["candidates"]:
        finish(world, one["job"], 10)
    move(world)
    found, by_number = state(world, asked)
    assert (found["status"], len(by_number)) == ("succeeded", 34)


def test_a_trial_that_fits_no_job_has_failed(world, sweep):
    """The training split has one image of each class."""
    asked = sweep({"method.labels_per_class": [1, 2]}, 2)
    by_number = state(world, asked)[1]
    assert sorted(one["status"] for one in by_number.values()) == ["failed", "queued"]
    [failed] = [one for one in by_number.values() if one["status"] == "failed"]
    assert (failed["job"], failed["drawn"]) == (None, {"method.labels_per_class": 2})
    assert "2 images of each class are asked for" in failed["reason"]


def test_cancelling_and_deleting(world, client, sweep):
    asked = sweep()
    assert client.get(f"/v1/tournaments/{asked['id']}").status_code == 404
    assert client.delete(f"{PATH}/{asked['id']}").json()["code"] == "wrong_status"
    assert made(client.post(f"{PATH}/{asked['id']}/cancel"), 200)["status"] == "cancelled"
    assert [one["id"] for one in world.get(PATH)["data"]] == [asked["id"]]
    assert client.delete(f"{PATH}/{asked['id']}").status_code == 204
    assert world.get(PATH)["data"] == []


def test_what_cannot_be_swept_is_refused(world, client, job):
    def refuse(body, status, code, param):
        response = client.post(PATH, json=body)
        problem = response.json()
        assert (response.status_code, problem["code"], problem.get("param")) == (status, code, param), response.text

    body = {"job": job, "space": RATES, "trials": 4}
    refuse(body | {"space": {}}, 422, "invalid_request", "space")
    refuse(body | {"space": {"method.nothing": [1, 2]}}, 422, "invalid_request", "space")
    refuse(body | {"space": {"method.epochs": [5, 0]}}, 422, "invalid_request", "space")
    refuse(body | {"space": {"method.name": ["fine_tune", "simclr"]}}, 422, "invalid_request", "space")
    below = body | {
        "job": job | {"method": job["method"] | {"optimizer": "sgd"}},
        "space": {"method.optimizer.x": [1, 2]},
    }
    refuse(below, 422, "invalid_request", "space")
    refuse(body | {"space": {"method.learning_rate": {"log": [1e-4, 1e9]}}}, 422, "invalid_request", "space")
    for ends in ([1, 1], [2, 1]):
        response = client.post(PATH, json=body | {"space": {"method.epochs": {"integer": ends}}})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
        assert "the smaller number comes first" in response.text
    refuse(body | {"trials": 201}, 422, "invalid_request", "trials")
    refuse(body | {"job": job | {"method": {"name": "evaluate"}}}, 422, "invalid_request", "space")
    refuse(body | {"job": job | {"dataset": world.dataset()["id"]}}, 422, "does_not_fit", "job.dataset")
    refuse(body | {"job": job | {"checkpoint": "ckpt_00000000"}}, 404, "not_found", "job.checkpoint")
    assert world.get("/v1/jobs")["data"] == []
