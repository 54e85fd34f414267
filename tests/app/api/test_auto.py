"""`auto` jobs from the request to the result, on both databases: what is asked for next, and what becomes of it."""

import pytest
from sqlalchemy import text

from app.tournaments import automatic
from tests.app.api.test_recommendations import answered, evidence
from tests.app.api.test_tournaments import by_number, finish, move, score
from tests.app.api.world import made


@pytest.fixture
def ask(world, client):
    def ask(dataset, checkpoint=None, **method):
        options = {name: method.pop(name) for name in ("priority", "max_seconds") if name in method}
        body = {"method": {"name": "auto", **method}, "dataset": dataset["id"], "seed": 5} | options
        return made(client.post("/v1/jobs", json=body | ({"checkpoint": checkpoint["id"]} if checkpoint else {})), 202)

    return ask


@pytest.fixture
def parts(world):
    """A checkpoint, and a dataset with labelled validation images."""
    return world.checkpoint(), world.validated()


def look(world, job):
    automatic.look_after(world.database)
    return world.get(f"/v1/jobs/{job['id']}")


def recommended(world, job, checkpoint):
    """The job once its recommendation is there and the candidates are queued."""
    asked = look(world, job)["choice"]["recommendation"]
    answered(world, {"id": asked}, evidence(checkpoint, 0.6, unchanged=0.5))
    return look(world, job)


def raced(world, tournament, best):
    """The tournament over; the candidate of the number `best` is right on the most images."""
    right = {number: 20 + 15 * (number == best) for number in by_number(tournament)}
    for _ in range(4):
        tournament = world.get(f"/v1/tournaments/{tournament['id']}")
        for number, one in by_number(tournament).items():
            if one["status"] == "queued" and one["method"]["name"] in ("evaluate", "linear_probe", "adabn"):
                finish(world, one["job"], right[number])
            elif one["status"] == "queued":
                share = tournament["rungs"][one["rung"]] if one["rung"] < 2 else 1.0
                score(world, one["job"], right[number], share) if share < 1 else finish(
                    world, one["job"], right[number]
                )
        move(world)
    return world.get(f"/v1/tournaments/{tournament['id']}")


def test_a_recommendation_a_tournament_and_the_winners_model(world, client, ask, parts):
    checkpoint, dataset = parts
    job = ask(dataset, checkpoint, priority="high")
    assert (job["status"], job["choice"], job["checkpoint"]) == ("queued", None, checkpoint["id"])
    asked = look(world, job)
    assert (asked["status"], asked["choice"]["tournament"]) == ("running", None)
    assert look(world, job)["choice"] == asked["choice"], "nothing moves before the answer is there"
    racing = recommended(world, job, checkpoint)
    tournament = world.get(f"/v1/tournaments/{racing['choice']['tournament']}")
    assert tournament["recommendation"] == asked["choice"]["recommendation"]
    names = [one["method"]["name"] for one in tournament["candidates"]]
    assert {"evaluate", "train", "fine_tune", "linear_probe", "shot", "adabn"} <= set(names)
    first = world.get(f"/v1/jobs/{tournament['candidates'][0]['job']}")
    assert (first["priority"], first["seed"], first["tournament"]) == ("high", 5, tournament["id"])
    best = next(one["number"] for one in tournament["candidates"] if one["method"]["name"] == "fine_tune")
    over = raced(world, tournament, best)
    assert over["winner"]["number"] == best
    done = look(world, job)
    won = world.get(f"/v1/jobs/{over['winner']['job']}")
    assert (done["status"], done["model"], done["evaluation"]) == ("succeeded", won["model"], won["evaluation"])
    assert done["lineage"] == won["lineage"]
    assert done["choice"] == {
        "recommendation": tournament["recommendation"],
        "tournament": tournament["id"],
        "job": won["id"],
        "checkpoint": checkpoint["id"],
        "method": won["method"],
        "because": over["because"],
    }
    assert client.delete(f"/v1/recommendations/{tournament['recommendation']}").json()["code"] == "has_dependents"
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.delete(f"/v1/recommendations/{tournament['recommendation']}").status_code == 204


def test_where_the_checkpoint_as_it_is_wins_there_is_no_model(world, ask, parts):
    checkpoint, dataset = parts
    job = ask(dataset, checkpoint)
    racing = recommended(world, job, checkpoint)
    tournament = world.get(f"/v1/tournaments/{racing['choice']['tournament']}")
    unchanged = next(one["number"] for one in tournament["candidates"] if one["baseline"] == "unchanged")
    raced(world, tournament, unchanged)
    done = look(world, job)
    assert (done["status"], done["model"]) == ("succeeded", None)
    assert "unchanged_won" in [warned["code"] for warned in done["warnings"]]
    assert done["choice"]["method"]["name"] == "evaluate"


def test_it_waits_for_what_it_names(world, ask):
    checkpoint, dataset = world.checkpoint(), world.queued_dataset()
    job = ask(dataset, checkpoint)
    assert look(world, job)["status"] == "queued"
    world.finish_dataset(dataset["id"], splits={"train": 6, "validation": 3, "test": 3})
    assert look(world, job)["status"] == "running"


def test_what_turns_out_not_to_fit_fails_it(world, ask):
    checkpoint, dataset = world.checkpoint(), world.queued_dataset()
    job = ask(dataset, checkpoint)
    world.finish_dataset(dataset["id"], splits={"train": 6, "validation": 0, "test": 3})
    failed = look(world, job)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "does_not_fit")
    assert "labelled validation images" in failed["error"]["message"]


def test_a_part_that_fails_fails_it_and_it_begins_anew(world, client, ask, parts):
    checkpoint, dataset = parts
    job = ask(dataset, checkpoint)
    first = look(world, job)["choice"]["recommendation"]
    world.fail(first, "out_of_memory")
    failed = look(world, job)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "out_of_memory")
    assert client.delete(f"/v1/recommendations/{first}").status_code == 204, "nobody needs it any more"
    again = made(client.post(f"/v1/jobs/{job['id']}/retry"), 200)
    assert again["status"] == "queued"
    assert look(world, job)["choice"]["recommendation"] not in (None, first)


def test_seconds_are_counted(world, ask, parts):
    checkpoint, dataset = parts
    job = ask(dataset, checkpoint, max_seconds=60)
    racing = recommended(world, job, checkpoint)
    assert look(world, job)["status"] == "running"
    with world.database.unit_of_work() as db:
        db.execute(text("UPDATE tasks SET started_at = started_at - 61 WHERE id = :id"), {"id": job["id"]})
    late = look(world, job)
    assert (late["status"], late["error"]["code"]) == ("failed", "too_long")
    assert world.get(f"/v1/tournaments/{racing['choice']['tournament']}")["status"] == "cancelled"


def test_cancelled_with_all_its_parts(world, client, ask, parts):
    checkpoint, dataset = parts
    job = ask(dataset, checkpoint)
    racing = recommended(world, job, checkpoint)
    assert client.post(f"/v1/jobs/{job['id']}/pause").json()["code"] == "wrong_status"
    assert made(client.post(f"/v1/jobs/{job['id']}/cancel"), 200)["status"] == "cancelling"
    assert look(world, job)["status"] == "cancelled"
    tournament = world.get(f"/v1/tournaments/{racing['choice']['tournament']}")
    assert tournament["status"] == "cancelled"
    assert {one["status"] for one in tournament["candidates"]} == {"cancelled"}


def test_a_budget_becomes_candidates_and_epochs_once(world, ask, parts):
    """A network that takes half a second for an image: nothing but what learns nothing fits into ten minutes."""
    checkpoint, dataset = parts
    job = ask(dataset, checkpoint, budget_s=600)
    racing = recommended(world, job, checkpoint)
    said = next(one for one in world.get(f"/v1/jobs/{job['id']}/events")["data"] if one["type"] == "shortlisted")
    assert said["data"]["candidates"] < said["data"]["of"]
    tournament = world.get(f"/v1/tournaments/{racing['choice']['tournament']}")
    asked = [one for one in tournament["candidates"] if one["baseline"] is None]
    assert len(asked) == said["data"]["candidates"]
    if said["data"]["seconds"] > 600:
        assert "shortened" in [warned["code"] for warned in racing["warnings"]]
        assert asked[0]["method"]["epochs"] >= 1
