"""Tournaments from the request to the winner: who races, who is left behind, what is refused."""

import base64

import numpy as np
import pytest

from app.contract.results import RunResult
from app.core.status import Status
from app.db.tables import JobRow, Task
from app.jobs import service as jobs
from app.methods.registry import parse
from app.queue import controlled
from app.queue import service as queue
from app.tournaments import controller
from tests.app.api.test_recommendations import answered, evidence
from tests.app.api.world import CLASSES, made

PATH = "/v1/tournaments"
SHAPE = {"id", "object", "created_at", "name", "status", "error", "dataset", "recommendation", "max_jobs", "budget_s"}
SHAPE |= {"seed", "rungs", "seconds", "candidates", "winner", "because", "label_use", "warnings", "metadata"}
STANDING = {"rank", "number", "job", "status", "checkpoint", "source_dataset", "method", "baseline", "rung", "accuracy"}
STANDING |= {"interval", "tied", "scores", "model", "reason", "drawn"}
N = 40


@pytest.fixture
def dataset(world):
    return world.validated()


@pytest.fixture
def race(world, client, dataset):
    """`race(*methods)`: each from one checkpoint."""
    checkpoint = world.checkpoint()

    def race(*methods, **options):
        candidates = [{"checkpoint": checkpoint["id"], "method": method} for method in methods]
        return made(client.post(PATH, json={"dataset": dataset["id"], "candidates": candidates} | options), 202)

    return race


@pytest.fixture
def refuse(client):
    def refuse(body, status, code, param):
        response = client.post(PATH, json=body)
        problem = response.json()
        assert (response.status_code, problem["code"], problem.get("param")) == (status, code, param), response.text
        return problem["detail"]

    return refuse


def score(world, job, right, share, seconds=9.0):
    """A job at its rung, or its end, as a worker brings it there."""
    hits = base64.b64encode(np.packbits(np.arange(N) < right).tobytes()).decode()
    data = {"share": share, "step": round(90 * share), "total_steps": 90, "right": right, "n": N, "hits": hits}
    with world.running(job) as (db, task):
        queue.note(db, job, "score", "Right on some.", data=data | {"seconds": seconds})
        if share < 1:
            queue.lay_down(db, task)


def finish(world, job, right):
    score(world, job, right, 1.0)
    with world.database.reading() as db:
        method = parse(jobs.stored(db, job).method)
    if method.info.gives_model:
        world.finish_job(job)
        return
    with world.running(job) as (db, task):
        jobs.publish(db, job, RunResult(method=method), None)
        queue.succeed(db, task)


def move(world):
    """As the upkeep of a worker does it."""
    with world.database.reading() as db:
        due = controller.due(db)
    for id_ in due:
        with world.database.unit_of_work() as db:
            controller.advance(db, id_)


def statuses(world, tournament):
    found = world.get(f"{PATH}/{tournament['id']}")
    return {one["number"]: one["status"] for one in found["candidates"]}, found


def by_number(tournament):
    return {one["number"]: one for one in tournament["candidates"]}


RATES = [{"name": "fine_tune", "learning_rate": rate} for rate in (0.1, 0.01, 0.001, 0.0001)]


def test_sources_unchanged_and_a_network_from_scratch_always_race(world, race):
    asked = race(*RATES, name="rates", metadata={"for": "us"}, seed=3)
    assert set(asked) == SHAPE
    assert (asked["object"], asked["status"], asked["name"], asked["winner"]) == (
        "tournament",
        "running",
        "rates",
        None,
    )
    assert [set(one) for one in asked["candidates"]] == [STANDING] * 6
    assert [one["baseline"] for one in asked["candidates"]] == ["unchanged", "scratch", None, None, None, None]
    assert [one["method"]["name"] for one in asked["candidates"]] == ["evaluate", "train", *["fine_tune"] * 4]
    for one in asked["candidates"]:
        job = world.get(f"/v1/jobs/{one['job']}")
        assert (job["tournament"], job["seed"], job["status"]) == (asked["id"], 3, "queued")
        assert job["method"] == one["method"]
        with world.database.reading() as db:
            assert db.get_one(JobRow, one["job"]).pause_after == pytest.approx(1 / 9)
            assert jobs.prepare(db, one["job"]).spec.race.pause_after == pytest.approx(1 / 9)


def test_a_baseline_that_was_asked_for_races_once(race):
    asked = race({"name": "evaluate"}, {"name": "ridge"})
    assert [one["method"]["name"] for one in asked["candidates"]] == ["evaluate", "train", "ridge"]


def test_it_runs_from_rung_to_rung(world, client, race):
    asked = race(*RATES)
    jobs_of = {number: one["job"] for number, one in by_number(asked).items()}
    move(world)
    finish(world, jobs_of[1], 20)
    for number, right in ((2, 10), (3, 30), (4, 31), (5, 8), (6, 5)):
        assert statuses(world, asked)[0][number] == "queued", "nothing moves before all are at rest"
        move(world)
        score(world, jobs_of[number], right, 1 / 9)
    assert statuses(world, asked)[0][4] == "paused"
    move(world)
    found, now = statuses(world, asked)
    assert found == {1: "finished", 2: "eliminated", 3: "queued", 4: "queued", 5: "eliminated", 6: "eliminated"}
    assert "clearly worse than the best" in by_number(now)[6]["reason"]
    assert client.get(f"/v1/jobs/{jobs_of[6]}").json()["status"] == "cancelled"
    assert [one["number"] for one in now["candidates"]] == [1, 4, 3, 2, 5, 6]

    score(world, jobs_of[3], 33, 1 / 3)
    score(world, jobs_of[4], 22, 1 / 3)
    move(world)
    assert statuses(world, asked)[0] == found | {4: "eliminated"}
    with world.database.reading() as db:
        assert jobs.prepare(db, jobs_of[3]).spec.race.pause_after is None, "it runs to its end"

    finish(world, jobs_of[3], 35)
    move(world)
    _, ended = statuses(world, asked)
    assert (ended["status"], ended["winner"]["number"], ended["winner"]["job"]) == ("succeeded", 3, jobs_of[3])
    assert ended["winner"]["model"] == world.get(f"/v1/jobs/{jobs_of[3]}")["model"]
    assert ended["because"].startswith("#3 (`fine_tune`) is right on 87.5%")
    first = ended["candidates"][0]
    assert [round(one["share"], 2) for one in first["scores"]] == [0.11, 0.33, 1.0]
    assert (first["rank"], first["rung"], first["accuracy"], first["tied"]) == (1, 2, 0.875, False)
    assert ended["seconds"] == 9.0 * 9
    move(world)
    assert statuses(world, asked)[1] == ended
    types = [event["type"] for event in world.get(f"{PATH}/{asked['id']}/events?limit=100")["data"]]
    assert types == ["queued", "running", "rung", "rung", "winner", "succeeded"]


def test_the_unchanged_source_wins_where_nothing_is_better(world, race):
    asked = race({"name": "ridge"})
    for number, right in ((1, 30), (2, 30), (3, 29)):
        finish(world, by_number(asked)[number]["job"], right)
    move(world)
    _, ended = statuses(world, asked)
    assert (ended["winner"]["number"], ended["winner"]["model"]) == (1, None)
    assert ended["winner"]["checkpoint"] == by_number(ended)[1]["checkpoint"]
    assert {number for number, one in by_number(ended).items() if one["tied"]} == {2, 3}
    assert "may be as good" in ended["because"]


def test_who_is_past_the_next_rung_already_is_not_run_for_it(world, race):
    """A training of two epochs pauses at its half: past both rungs."""
    asked = race(*RATES)
    jobs_of = {number: one["job"] for number, one in by_number(asked).items()}
    finish(world, jobs_of[1], 20)
    for number, right in ((2, 1), (3, 30), (4, 29), (5, 2), (6, 3)):
        score(world, jobs_of[number], right, 0.5)
    move(world)
    found, now = statuses(world, asked)
    assert found == {1: "finished", 2: "eliminated", 3: "queued", 4: "eliminated", 5: "eliminated", 6: "eliminated"}
    assert by_number(now)[3]["rung"] == 2


def test_a_budget_stops_those_it_does_not_suffice_for(world, race):
    asked = race(*RATES, budget_s=60)
    jobs_of = {number: one["job"] for number, one in by_number(asked).items()}
    finish(world, jobs_of[1], 1)
    for number in range(2, 7):
        score(world, jobs_of[number], 30 + number, 1 / 9)
    move(world)
    found, now = statuses(world, asked)
    assert [number for number, status in found.items() if status == "queued"] == [6], "one goes on all the same"
    assert "budget" in by_number(now)[5]["reason"]


def test_jobs_that_end_otherwise_race_no_more(world, client, race):
    asked = race(*RATES)
    jobs_of = {number: one["job"] for number, one in by_number(asked).items()}
    finish(world, jobs_of[1], 20)
    world.fail(jobs_of[2], "diverged")
    client.post(f"/v1/jobs/{jobs_of[3]}/cancel")
    client.post(f"/v1/jobs/{jobs_of[4]}/cancel")
    assert client.delete(f"/v1/jobs/{jobs_of[4]}").status_code == 204
    score(world, jobs_of[5], 20, 1 / 9)
    client.post(f"/v1/jobs/{jobs_of[6]}/pause")
    move(world)
    found, now = statuses(world, asked)
    assert found[6] == "paused", "by hand: it is waited for"
    assert found[5] == "paused"
    made(client.post(f"/v1/jobs/{jobs_of[6]}/resume"), 200)
    score(world, jobs_of[6], 10, 1 / 9)
    move(world)
    found, now = statuses(world, asked)
    assert found == {1: "finished", 2: "failed", 3: "cancelled", 4: "cancelled", 5: "queued", 6: "eliminated"}
    assert by_number(now)[4]["reason"] == "Its job was deleted."
    assert by_number(now)[2]["reason"] == "It took too much memory."


def test_it_fails_where_none_comes_to_its_end(world, race):
    asked = race({"name": "ridge"}, max_jobs=2)
    for one in asked["candidates"]:
        world.fail(one["job"])
    move(world)
    _, ended = statuses(world, asked)
    assert (ended["status"], ended["error"]["code"], ended["winner"]) == ("failed", "no_finisher", None)
    assert "#1: It took too much memory." in ended["error"]["message"]


def test_a_move_is_made_once_whoever_makes_it(world, race):
    """Two controllers at once: one has the lock, the other leaves it to that."""
    asked = race({"name": "ridge"})
    for number, right in ((1, 10), (2, 10), (3, 30)):
        finish(world, by_number(asked)[number]["job"], right)
    if not world.api.database_url.startswith("sqlite"):  # where a transaction that writes is alone
        with world.database.unit_of_work() as db, world.database.unit_of_work() as other:
            assert controlled.lock(db, asked["id"]) is not None
            controller.advance(other, asked["id"])
        assert statuses(world, asked)[1]["status"] == "running"
    move(world)
    assert statuses(world, asked)[1]["status"] == "succeeded"


def test_a_move_that_does_not_come_to_its_end_is_none(world, race):
    asked = race(*RATES)
    jobs_of = {number: one["job"] for number, one in by_number(asked).items()}
    finish(world, jobs_of[1], 20)
    for number in range(2, 7):
        score(world, jobs_of[number], number, 1 / 9)
    before = statuses(world, asked)

    def die_before_the_end():
        with world.database.unit_of_work() as db:
            controller.advance(db, asked["id"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        die_before_the_end()
    assert statuses(world, asked) == before
    move(world)
    assert "eliminated" in statuses(world, asked)[0].values()


def test_cancelling_it_cancels_its_jobs(world, client, race):
    asked = race(*RATES)
    jobs_of = {number: one["job"] for number, one in by_number(asked).items()}
    finish(world, jobs_of[1], 20)
    with world.running(jobs_of[2]):
        pass
    assert client.delete(f"{PATH}/{asked['id']}").json()["code"] == "wrong_status"
    cancelled = made(client.post(f"{PATH}/{asked['id']}/cancel"), 200)
    assert cancelled["status"] == "cancelling"
    with world.database.unit_of_work() as db:
        queue.stop(db, db.get_one(Task, jobs_of[2]))
    move(world)
    found, now = statuses(world, asked)
    assert (now["status"], now["winner"]) == ("cancelled", None)
    assert found == {1: "finished"} | dict.fromkeys(range(2, 7), "cancelled")
    assert client.post(f"{PATH}/{asked['id']}/cancel").json()["code"] == "wrong_status"
    assert client.delete(f"{PATH}/{asked['id']}").status_code == 204
    assert client.get(f"{PATH}/{asked['id']}").status_code == 404
    assert world.get(f"/v1/jobs/{jobs_of[1]}")["tournament"] == asked["id"], "its jobs stay"


def test_where_nothing_runs_it_is_cancelled_at_once(client, race):
    asked = race(*RATES)
    assert made(client.post(f"{PATH}/{asked['id']}/cancel"), 200)["status"] == "cancelled"


def test_an_eliminated_candidate_that_is_tried_again_runs_to_its_end(world, client, race):
    asked = race(*RATES)
    jobs_of = {number: one["job"] for number, one in by_number(asked).items()}
    finish(world, jobs_of[1], 20)
    for number in range(2, 7):
        score(world, jobs_of[number], number, 1 / 9)
    move(world)
    made(client.post(f"/v1/jobs/{jobs_of[2]}/retry"), 200)
    with world.database.reading() as db:
        assert jobs.prepare(db, jobs_of[2]).spec.race.pause_after is None


def test_what_is_recommended_races(world, client, dataset):
    checkpoint = world.checkpoint()
    asked = made(client.post("/v1/recommendations", json={"dataset": dataset["id"]}), 202)
    refused = client.post(PATH, json={"dataset": dataset["id"], "candidates": "recommended"})
    assert (refused.status_code, refused.json()["param"]) == (404, "candidates")
    ready = answered(world, asked, evidence(checkpoint, 0.7, unchanged=0.5))
    body = {"dataset": dataset["id"], "candidates": "recommended", "max_jobs": 3}
    for more in ({}, {"recommendation": ready["id"]}):
        found = made(client.post(PATH, json=body | more), 202)
        assert len(found["candidates"]) == 3
        names = [one["method"]["name"] for one in found["candidates"]]
        assert {"evaluate", ready["entries"][0]["method"]["name"]} <= set(names)
    other = world.validated()
    refused = client.post(PATH, json=body | {"dataset": other["id"], "recommendation": ready["id"]})
    assert (refused.status_code, refused.json()["param"]) == (422, "recommendation")


def test_what_cannot_race_is_refused(world, client, dataset, refuse):
    checkpoint, gone = world.checkpoint(), "ds_000000000000000000000000"
    good = {"checkpoint": checkpoint["id"], "method": {"name": "ridge"}}
    body = {"dataset": dataset["id"], "candidates": [good]}
    assert "`splits`" in refuse(body | {"dataset": world.dataset()["id"]}, 422, "does_not_fit", "dataset")
    refuse(body | {"dataset": gone}, 404, "not_found", "dataset")
    refuse(body | {"dataset": world.queued_dataset()["id"]}, 409, "not_ready", "dataset")
    refuse(body | {"candidates": []}, 422, "invalid_request", "candidates")
    refuse(body | {"candidates": [good, good]}, 422, "invalid_request", "candidates")
    refuse(body | {"max_jobs": 33}, 422, "invalid_request", "max_jobs")
    network = {"name": "simclr", "network": {"name": "cnn3", "num_classes": 3}}
    for bad, status, code, param in (
        ({"checkpoint": "ckpt_00000000", "method": {"name": "ridge"}}, 404, "not_found", "candidates.1.checkpoint"),
        ({"method": network}, 422, "invalid_request", "candidates.1.method"),
        (
            {"checkpoint": checkpoint["id"], "method": {"name": "dann"}},
            422,
            "does_not_fit",
            "candidates.1.source_dataset",
        ),
        ({"method": {"name": "ridge"}}, 422, "invalid_request", "candidates.1.checkpoint"),
        ({"checkpoint": world.queued_checkpoint()["id"], "method": {"name": "ridge"}}, 409, "not_ready", None),
    ):
        refuse(body | {"candidates": [good, bad]}, status, code, param or "candidates.1.checkpoint")
    assert world.get(PATH)["data"] == world.get("/v1/jobs")["data"] == []
    assert checkpoint["classes"] == CLASSES


def test_it_holds_what_it_needs(world, client, dataset, race):
    asked = race({"name": "ridge"})
    for path in (f"/v1/datasets/{dataset['id']}", f"/v1/checkpoints/{by_number(asked)[1]['checkpoint']}"):
        refused = client.delete(path).json()
        assert refused["code"] == "has_dependents"
        assert asked["id"] in [fault["param"] for fault in refused["errors"]]
        assert client.delete(f"{path}?cascade=true").json()["code"] == "wrong_status"


def test_lists_are_of_the_owner(api, world, race):
    first, second = race({"name": "ridge"}), race({"name": "svm"})
    page = world.get(f"{PATH}?limit=1")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([second["id"]], True)
    assert world.get(f"{PATH}?after={second['id']}")["data"] == [first]
    stranger = api.as_owner(api.new_owner())
    assert stranger.get(PATH).json()["data"] == []
    assert first["status"] == Status.RUNNING
