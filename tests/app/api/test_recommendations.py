"""Recommendations from question to outcome: what is asked, what is told while it sharpens, and what comes of it."""

from contextlib import closing

import pytest

from app.choosing import service as choosing
from app.contract.blobs import Written
from app.contract.recommendation import EVIDENCE_EDITION, Evidence, MeasuredAccuracy, Measurements, ToLabel
from app.queue import service as queue
from tests.app.api.world import CLASSES, EVALUATION, World, made

PATH = "/v1/recommendations"
SHAPE = {
    "id",
    "object",
    "created_at",
    "status",
    "error",
    "dataset",
    "source_dataset",
    "candidates",
    "methods",
    "labels",
}
SHAPE |= {
    "narrows",
    "images",
    "seed",
    "objective",
    "budget_s",
    "entries",
    "baselines",
    "label_use",
    "abstains",
    "because",
    "to_decide",
    "jobs",
    "warnings",
}
ENTRY = {"rank", "checkpoint", "method", "predicted", "cost", "evidence", "reasons", "warnings"}
PREDICTED = {"accuracy", "interval", "p_best", "p_worse_than_unchanged", "p_worse_than_scratch"}


@pytest.fixture
def ask(client):
    return lambda dataset, **options: made(client.post(PATH, json={"dataset": dataset["id"]} | options), 202)


@pytest.fixture
def refuse(client):
    def refuse(body, status, code, param):
        response = client.post(PATH, json=body)
        problem = response.json()
        assert (response.status_code, problem["code"], problem.get("param")) == (status, code, param), response.text
        return problem["detail"]

    return refuse


def evidence(checkpoint, accuracy, unchanged=None):
    def measured(share):
        return MeasuredAccuracy(accuracy=share, interval=(max(0, share - 0.1), min(1, share + 0.1)), n=100)

    return Evidence(
        checkpoint=checkpoint["id"],
        images=100,
        image_seconds=0.5,
        edition=EVIDENCE_EDITION,
        probe=measured(accuracy),
        unchanged=None if unchanged is None else measured(unchanged),
    )


def told(world, recommendation, *found):
    """As a worker's journal writes it."""
    with world.database.unit_of_work() as db:
        choosing.prepare(db, recommendation["id"])
        for one in found:
            queue.note(db, recommendation["id"], "evidence", "Measured.", data=one.dump())
    return world.get(f"{PATH}/{recommendation['id']}")


def answered(world, recommendation, *found, to_label=None):
    told(world, recommendation, *found)
    with world.running(recommendation["id"]) as (db, task):
        choosing.publish(db, recommendation["id"], Measurements(evidence=list(found), to_label=to_label), Written({}))
        queue.succeed(db, task)
    return world.get(f"{PATH}/{recommendation['id']}")


def choices(recommendation):
    return {(entry["checkpoint"], entry["method"]["name"]) for entry in recommendation["entries"]}


def test_it_sharpens_with_every_candidate_that_is_measured(world, ask):
    good, bad, dataset = world.checkpoint(name="good"), world.checkpoint(name="bad"), world.dataset()
    asked = ask(dataset, labels=2)
    assert set(asked) == SHAPE
    assert (asked["object"], asked["status"], asked["entries"], asked["labels"]) == ("recommendation", "queued", [], 2)
    assert [one["id"] for one in asked["candidates"]] == [bad["id"], good["id"]]  # the newest first
    assert asked["label_use"] == "none of the target's"

    first = told(world, asked, evidence(bad, 0.4))
    assert first["status"] == "sharpening"
    assert {checkpoint for checkpoint, _ in choices(first)} == {bad["id"], None}
    assert [one["measured"] for one in first["candidates"]] == [True, False]

    ready = answered(world, asked, evidence(bad, 0.4), evidence(good, 0.9, unchanged=0.8))
    assert (ready["status"], ready["error"]) == ("ready", None)
    methods = {"linear_probe", "fine_tune", "lp_ft"}
    assert choices(ready) == {(one["id"], name) for one in (good, bad) for name in methods} | {
        (good["id"], "evaluate"),
        (None, "train"),
    }
    assert ready["entries"][0]["checkpoint"] == good["id"]
    assert [entry["rank"] for entry in ready["entries"]] == list(range(1, 9))
    for entry in ready["entries"]:
        assert (set(entry), set(entry["predicted"])) == (ENTRY, PREDICTED)
        assert entry["cost"]["seconds"] > 0
        assert entry["cost"]["memory_bytes"] is None
        assert entry["method"].get("labels_per_class") == (None if entry["method"]["name"] == "evaluate" else 2)
    assert ready["baselines"]["unchanged"] == pytest.approx(0.8, abs=0.05)
    assert ready["label_use"].startswith("100 training labels of the target")
    assert ready == world.get(f"{PATH}/{asked['id']}")


def test_an_entry_is_a_job_as_it_stands(world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset, seed=3), evidence(checkpoint, 0.7, unchanged=0.5))
    for entry in ready["entries"]:
        body = {"checkpoint": entry["checkpoint"], "dataset": dataset["id"], "method": entry["method"], "seed": 3}
        by_hand = made(client.post("/v1/jobs", json={k: v for k, v in body.items() if v is not None}), 202)
        job = made(client.post(f"{PATH}/{ready['id']}/jobs", json={"rank": entry["rank"], "name": "first"}), 202)
        for field in ("checkpoint", "dataset", "source_dataset", "method", "seed", "lineage"):
            assert job[field] == by_hand[field], (entry["method"]["name"], field)
        assert job["method"] == entry["method"]
        assert job["name"] == "first"
    jobs = world.get(f"{PATH}/{ready['id']}")["jobs"]
    assert [made["rank"] for made in jobs] == [entry["rank"] for entry in ready["entries"]]
    client.post(f"/v1/jobs/{jobs[0]['job']}/cancel")
    assert client.delete(f"/v1/jobs/{jobs[0]['job']}").status_code == 204
    assert world.get(f"{PATH}/{ready['id']}")["jobs"] == jobs[1:]


def test_a_rank_that_is_not_there_is_refused(world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset), evidence(checkpoint, 0.7))
    refused = client.post(f"{PATH}/{ready['id']}/jobs", json={"rank": 9})
    assert (refused.status_code, refused.json()["param"]) == (422, "rank")
    assert "ranks 1 to 4" in refused.json()["detail"]
    assert world.get("/v1/jobs")["data"] == []


def test_ranks_that_may_still_change_are_not_submitted(world, client, ask):
    """Neither before anything is measured, nor between two candidates."""
    first, second = world.checkpoint(), world.checkpoint()
    asked = ask(world.dataset(), checkpoints=[first["id"], second["id"]])
    for _ in range(2):
        refused = client.post(f"{PATH}/{asked['id']}/jobs", json={"rank": 1})
        assert (refused.status_code, refused.json()["code"]) == (409, "not_ready")
        told(world, asked, evidence(first, 0.7))
    assert world.get(f"{PATH}/{asked['id']}")["entries"]
    assert world.get("/v1/jobs")["data"] == []


def test_a_job_is_submitted_once(world, client, ask):
    checkpoint = world.checkpoint()
    ready = answered(world, ask(world.dataset()), evidence(checkpoint, 0.7))
    for _ in range(2):
        response = client.post(
            f"{PATH}/{ready['id']}/jobs", json={"rank": 1}, headers={"Idempotency-Key": f"once {ready['id']}"}
        )
        assert response.status_code == 202
    assert len(world.get(f"{PATH}/{ready['id']}")["jobs"]) == len(world.get("/v1/jobs")["data"]) == 1


def test_the_outcome_has_the_truth_of_finished_jobs(world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset, methods=["fine_tune", "linear_probe"]), evidence(checkpoint, 0.9))
    before = world.get(f"{PATH}/{ready['id']}/outcome")
    assert (before["known"], before["inside"], len(before["entries"])) == (0, 0, 2)
    by_name = {entry["method"]["name"]: entry for entry in ready["entries"]}

    def finished(method, accuracy, submit=None):
        if submit is None:
            body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": method}
            job = made(client.post("/v1/jobs", json=body), 202)
        else:
            job = made(client.post(f"{PATH}/{ready['id']}/jobs", json={"rank": submit["rank"]}), 202)
        target = EVALUATION["target"] | {"accuracy": accuracy}
        world.finish_job(job["id"], evaluation=EVALUATION | {"target": target})
        return job["id"]

    own = finished(None, 0.95, submit=by_name["fine_tune"])
    finished({"name": "fine_tune"}, 0.2)  # newer, but not what came of it
    finished({"name": "linear_probe", "labels_per_class": 1}, 0.9)  # of other labels: no truth of this
    after = world.get(f"{PATH}/{ready['id']}/outcome")
    truth = {entry["method"]["name"]: entry for entry in after["entries"]}
    assert (truth["fine_tune"]["job"], truth["fine_tune"]["accuracy"], truth["fine_tune"]["inside"]) == (
        own,
        0.95,
        True,
    )
    assert (truth["linear_probe"]["job"], truth["linear_probe"]["inside"]) == (None, None)
    assert (after["known"], after["inside"]) == (1, 1)
    elsewhere = finished({"name": "linear_probe"}, 0.1)
    after = world.get(f"{PATH}/{ready['id']}/outcome")
    truth = {entry["method"]["name"]: entry for entry in after["entries"]}
    assert (truth["linear_probe"]["job"], truth["linear_probe"]["inside"]) == (elsewhere, False)
    assert (after["known"], after["inside"]) == (2, 1)
    assert world.get(f"{PATH}/{ready['id']}")["entries"] == ready["entries"], "forecasts stay as they were made"


def test_finished_jobs_are_learned_from_on_other_images_alone(world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset, methods=["fine_tune"]), evidence(checkpoint, 0.5))
    job = made(client.post(f"{PATH}/{ready['id']}/jobs", json={"rank": 1}), 202)
    world.finish_job(job["id"])

    def history(again):
        [entry] = again["entries"]
        return [term for term in entry["evidence"] if term["name"] == "history"]

    same = answered(world, ask(dataset, methods=["fine_tune"]), evidence(checkpoint, 0.5))
    revised = answered(
        world, ask(world.dataset(published={"sha256": "b" * 64}), methods=["fine_tune"]), evidence(checkpoint, 0.5)
    )
    other = answered(world, ask(world.dataset(images=12), methods=["fine_tune"]), evidence(checkpoint, 0.5))
    assert history(same) == history(revised) == [], "they share its test images, whatever their digests"
    [term] = history(other)
    assert (term["tier"], term["value"]) == (1, 1.0)
    assert term["contribution"] > 0, "the job was right on all three test images"


def test_where_checkpoints_stood_is_told_before_anything_is_measured(api, world, client, ask, tmp_path):
    """By the owner's own finished jobs on other images; a copy of a checkpoint counts as the checkpoint."""
    strong, weak = world.checkpoint(weights=b"strong"), world.checkpoint(weights=b"weak")
    elsewhere, here = world.dataset(images=12), world.dataset()

    def finished(checkpoint, dataset, right):
        body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": {"name": "fine_tune"}}
        job = made(client.post("/v1/jobs", json=body), 202)
        target = EVALUATION["target"] | {"accuracy": right, "n": 100}
        world.finish_job(job["id"], evaluation=EVALUATION | {"target": target})

    def standing(recommendation):
        return {
            entry["checkpoint"]: term["value"]
            for entry in recommendation["entries"]
            for term in entry["evidence"]
            if term["name"] == "standing"
        }

    finished(strong, elsewhere, 0.9)
    finished(weak, elsewhere, 0.4)
    copy = world.checkpoint(weights=b"strong")
    asked = ask(here, checkpoints=[weak["id"], copy["id"]])
    assert [(entry["checkpoint"], entry["method"]["name"]) for entry in asked["entries"]] == [
        (copy["id"], "fine_tune"),
        (weak["id"], "fine_tune"),
    ]
    assert {term["tier"] for entry in asked["entries"] for term in entry["evidence"]} == {1}
    assert standing(asked)[copy["id"]] == pytest.approx(-standing(asked)[weak["id"]])
    assert standing(asked)[copy["id"]] > 0.9
    assert asked["label_use"] == "none of the target's"

    ready = answered(world, asked, evidence(copy, 0.6), evidence(weak, 0.6))
    moved = {
        entry["checkpoint"]: term["contribution"]
        for entry in ready["entries"]
        for term in entry["evidence"]
        if term["name"] == "standing"
    }
    assert moved[copy["id"]] > 0 > moved[weak["id"]]

    same = ask(elsewhere, checkpoints=[weak["id"], copy["id"]])
    revised = ask(world.dataset(images=12, published={"sha256": "b" * 64}), checkpoints=[weak["id"], copy["id"]])
    assert same["entries"] == revised["entries"] == [], "these are the images whose accuracy is asked for"
    with closing(World(api, api.new_owner(), tmp_path)) as stranger:
        theirs = [stranger.checkpoint(weights=one)["id"] for one in (b"strong", b"weak")]
        body = {"dataset": stranger.dataset()["id"], "checkpoints": theirs}
        assert made(stranger.client.post(PATH, json=body), 202)["entries"] == []


def test_evidence_on_the_same_question_is_not_measured_twice(world, ask):
    """Of another number of labels, of other images, or of a version that measured otherwise it is no evidence."""
    checkpoint, other, dataset = world.checkpoint(), world.checkpoint(), world.dataset()
    old = evidence(other, 0.5).model_copy(update={"edition": 0})
    new = evidence(checkpoint, 0.7)
    answered(world, ask(dataset, labels=2), new, old)

    def known(asked):
        with world.database.unit_of_work() as db:
            return choosing.prepare(db, asked["id"]).spec.known

    assert known(ask(dataset, labels=2)) == [new]
    assert known(ask(dataset, labels=2, methods=["fine_tune"], checkpoints=[checkpoint["id"]])) == [new]
    assert known(ask(dataset, labels=2, checkpoints=[other["id"]])) == []
    for question in ({"labels": 1}, {"labels": 2, "seed": 1}, {"labels": 2, "images": 5}):
        assert known(ask(dataset, **question)) == [], question
    assert known(ask(dataset, labels=2, source_dataset=world.dataset()["id"])) == []
    assert known(ask(world.dataset(images=12), labels=2)) == []


def test_parts_may_still_be_processing(world, ask):
    dataset, checkpoint = world.queued_dataset(), world.queued_checkpoint()
    asked = ask(dataset, checkpoints=[checkpoint["id"]], labels=1)
    assert (asked["status"], asked["entries"]) == ("queued", [])
    world.finish_dataset(dataset["id"])
    world.finish_checkpoint(checkpoint["id"])
    assert ("fine_tune" in {name for _, name in choices(told(world, asked, evidence(checkpoint, 0.6)))}) is True


def test_it_fails_with_what_it_needs(world, ask):
    dataset = world.queued_dataset()
    asked = ask(dataset, checkpoints=[world.checkpoint()["id"]])
    world.fail(dataset["id"], "no_images")
    failed = world.get(f"{PATH}/{asked['id']}")
    assert (failed["status"], failed["error"]["code"]) == ("failed", "dependency_failed")


def test_what_is_left_out_is_said(world, ask):
    untrained, dataset = world.checkpoint(untrained_head=True), world.dataset()
    asked = ask(dataset, checkpoints=[untrained["id"]], methods=["evaluate", "fine_tune"])
    assert {warning["code"] for warning in asked["warnings"]} == {"method_left_out"}
    ready = answered(world, asked, Evidence(checkpoint=untrained["id"], failure="It cannot be built."))
    assert (ready["entries"], ready["abstains"]) == ([], True)
    assert "It cannot be built." in ready["because"]
    assert ready["candidates"][0]["failure"] == "It cannot be built."


def seconds(recommendation):
    return {entry["method"]["name"]: entry["cost"]["seconds"] for entry in recommendation["entries"]}


def test_entries_cost_what_their_images_and_steps_take(world, ask):
    """Half a second an image: 6 train, 3 test, none validates."""
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset), evidence(checkpoint, 0.7, unchanged=0.5))
    epochs = {entry["method"]["name"]: entry["method"].get("epochs") for entry in ready["entries"]}
    assert seconds(ready)["evaluate"] == pytest.approx(5 + 0.5 * 3)
    assert seconds(ready)["fine_tune"] == pytest.approx(5 + 0.5 * (3 + 3 * 6 * epochs["fine_tune"]))
    assert seconds(ready)["linear_probe"] == pytest.approx(5 + 0.5 * (3 + 6) + 4e-4 * epochs["linear_probe"])
    assert seconds(ready)["lp_ft"] > 5 + 0.5 * (3 + 6 + 3 * 6 * epochs["lp_ft"])


def test_a_preflight_knows_better(world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    before = answered(world, ask(dataset), evidence(checkpoint, 0.7, unchanged=0.5))
    entry = next(entry for entry in before["entries"] if entry["method"]["name"] == "fine_tune")
    job = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": entry["method"]}
    world.finish_preflight(made(client.post("/v1/jobs/preflight?measure=true", json=job), 202)["id"], seconds=77.0)
    after = answered(world, ask(dataset), evidence(checkpoint, 0.7, unchanged=0.5))
    entry = next(entry for entry in after["entries"] if entry["method"]["name"] == "fine_tune")
    assert entry["cost"] == {"seconds": 77.0, "memory_bytes": 2**20}


def test_what_takes_longer_than_the_budget_is_left_out_and_said(world, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset, budget_s=20), evidence(checkpoint, 0.7, unchanged=0.5))
    assert {name for _, name in choices(ready)} == {"evaluate", "linear_probe"}
    assert [entry["rank"] for entry in ready["entries"]] == [1, 2]
    [warning] = ready["warnings"]
    assert warning["code"] == "over_budget"
    assert "`fine_tune`" in warning["message"]
    assert ready["budget_s"] == 20
    nothing = answered(world, ask(dataset, budget_s=1), evidence(checkpoint, 0.7, unchanged=0.5))
    assert (nothing["entries"], nothing["abstains"]) == ([], True)
    assert "1 second" in nothing["because"]


def test_the_objective_says_what_is_ranked_by(world, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()

    def first(objective, **found):
        asked = ask(dataset, objective=objective)
        ready = answered(world, asked, evidence(checkpoint, 0.99, **found))
        assert ready["objective"] == objective
        return ready["entries"][0]["method"]["name"]

    assert first("accuracy", unchanged=0.5) == "fine_tune"
    assert first("accuracy_per_second", unchanged=0.5) == "linear_probe"
    assert first("keep_source", unchanged=0.5) == "linear_probe"
    assert first("small", unchanged=0.5) == "fine_tune"


def test_of_many_checkpoints_the_newest_are_candidates(world, ask):
    checkpoints = [world.checkpoint() for _ in range(choosing.MOST_CANDIDATES + 1)]
    asked = ask(world.dataset())
    assert [one["id"] for one in asked["candidates"]] == [one["id"] for one in checkpoints[:0:-1]]
    [warning] = asked["warnings"]
    assert warning["code"] == "candidates_left_out"
    assert "33" in warning["message"]


def test_without_labels_it_abstains_and_says_what_to_label(world, ask):
    checkpoint = world.checkpoint()
    for dataset, options in (
        (world.dataset(), {"labels": "none"}),
        (world.dataset(labelled=False, published={"labelled": False}), {}),
    ):
        ready = answered(world, ask(dataset, **options), Evidence(checkpoint=checkpoint["id"], images=6))
        assert (ready["labels"], ready["entries"], ready["abstains"]) == ("none", [], True)
        assert ready["to_decide"]["kind"] == "label"
        assert ready["label_use"] == "none of the target's"


def test_what_cannot_be_forecast_is_refused(world, client, refuse):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    unlabelled = world.dataset(labelled=False, published={"labelled": False})
    several = world.dataset(published={"multi_label": True})
    empty = world.dataset(published={"splits": {"train": 0, "validation": 0, "test": 9}})
    gone = "ds_000000000000000000000000"
    refuse({"dataset": gone}, 404, "not_found", "dataset")
    refuse({"dataset": dataset["id"], "checkpoints": ["ckpt_00000000"]}, 404, "not_found", "checkpoints")
    refuse({"dataset": dataset["id"], "source_dataset": gone}, 404, "not_found", "source_dataset")
    refuse({"dataset": unlabelled["id"], "labels": 3}, 422, "does_not_fit", "labels")
    refuse({"dataset": several["id"]}, 422, "does_not_fit", "dataset")
    refuse({"dataset": empty["id"]}, 422, "does_not_fit", "dataset")
    refuse({"dataset": dataset["id"], "methods": ["dann"]}, 422, "invalid_request", "methods.0")
    refuse({"dataset": dataset["id"], "labels": 0}, 422, "invalid_request", "labels")
    refuse({"dataset": dataset["id"], "images": 10_001}, 422, "invalid_request", "images")
    head = {"checkpoints": [world.checkpoint(untrained_head=True)["id"]], "methods": ["evaluate"]}
    assert "drawn at random" in refuse({"dataset": dataset["id"]} | head, 422, "does_not_fit", "dataset")
    failed = world.queued_checkpoint()
    world.fail(failed["id"])
    refuse({"dataset": dataset["id"], "checkpoints": [failed["id"]]}, 409, "not_ready", "checkpoints")
    assert world.get(PATH)["data"] == []
    assert checkpoint["classes"] == CLASSES


def test_without_checkpoints_there_is_nothing_to_choose_from(world, refuse):
    assert "no ready checkpoint" in refuse({"dataset": world.dataset()["id"]}, 422, "does_not_fit", "checkpoints")


def test_it_holds_what_it_needs_and_is_deleted_with_it(api, world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset), evidence(checkpoint, 0.7))
    job = made(client.post(f"{PATH}/{ready['id']}/jobs", json={"rank": 1}), 202)
    stranger = api.as_owner(api.new_owner())
    for response in (
        stranger.get(f"{PATH}/{ready['id']}"),
        stranger.get(f"{PATH}/{ready['id']}/outcome"),
        stranger.get(f"{PATH}/{ready['id']}/events"),
        stranger.post(f"{PATH}/{ready['id']}/jobs", json={"rank": 1}),
        stranger.delete(f"{PATH}/{ready['id']}"),
    ):
        assert response.status_code == 404
    for path in (f"/v1/datasets/{dataset['id']}", f"/v1/checkpoints/{checkpoint['id']}"):
        refused = client.delete(path)
        assert (refused.status_code, refused.json()["code"]) == (409, "has_dependents")
        assert ready["id"] in [fault["param"] for fault in refused.json()["errors"]]
    assert client.delete(f"{PATH}/{ready['id']}").status_code == 204
    assert client.get(f"{PATH}/{ready['id']}").status_code == 404
    assert world.get(f"/v1/jobs/{job['id']}")["id"] == job["id"], "the jobs that came of it stay"


def test_lists_have_the_first_entries_and_events_the_evidence(world, client, ask):
    checkpoint, other = world.checkpoint(), world.checkpoint()
    found = (evidence(checkpoint, 0.7), evidence(other, 0.6))
    first, second = answered(world, ask(world.dataset()), *found), ask(world.dataset())
    page = world.get(f"{PATH}?limit=1")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([second["id"]], True)
    [listed] = world.get(f"{PATH}?after={second['id']}")["data"]
    assert listed == first | {"entries": first["entries"][:5]}
    assert len(first["entries"]) == 7
    types = [event["type"] for event in world.get(f"{PATH}/{first['id']}/events")["data"]]
    assert types.count("evidence") == 2


def test_what_to_label_next_is_shown_and_is_a_file_for_label_studio(world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    asked = ask(dataset, labels="none")
    path = f"{PATH}/{asked['id']}/to_label"
    early = client.get(path)
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    ranked = ToLabel(checkpoint=checkpoint["id"], rule="coreset", rows=[4, 0, 5])
    answered(world, asked, Evidence(checkpoint=checkpoint["id"], images=6), to_label=ranked)
    found = world.get(f"{path}?n=2")
    assert {key: value for key, value in found.items() if key != "images"} == {
        "object": "to_label",
        "recommendation": asked["id"],
        "dataset": dataset["id"],
        "checkpoint": checkpoint["id"],
        "rule": "coreset",
    }
    assert [image["id"] for image in found["images"]] == ["sample_4", "sample_0"]
    samples = {one["id"]: one["image"] for one in world.get(f"/v1/datasets/{dataset['id']}/samples")["data"]}
    assert [image["image"] for image in found["images"]] == [samples["sample_4"], samples["sample_0"]]
    tasks = made(client.get(f"{path}/label_studio"), 200)
    assert [task["data"]["sample"] for task in tasks] == ["sample_4", "sample_0", "sample_5"]
    assert all(task["data"]["image"].startswith("data:image/png;base64,") for task in tasks)
    assert client.get(f"{path}?n=0").status_code == 422


def test_where_every_label_was_read_there_is_none_to_ask_for(world, ask):
    checkpoint = world.checkpoint()
    ready = answered(world, ask(world.dataset()), evidence(checkpoint, 0.7))
    found = world.get(f"{PATH}/{ready['id']}/to_label")
    assert (found["rule"], found["checkpoint"], found["images"]) == (None, None, [])


def test_labels_ask_the_same_again_of_a_revision(world, client, ask):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    before = ask(dataset, labels="none", checkpoints=[checkpoint["id"]], images=7, seed=5, methods=["fine_tune"])
    body = {"labels": [{"image": "sample_4", "label": CLASSES[0]}]}
    after = made(client.post(f"{PATH}/{before['id']}/labels", json=body), 202)
    assert (after["narrows"], before["narrows"]) == (before["id"], None)
    assert after["id"] != before["id"]
    revision = world.get(f"/v1/datasets/{after['dataset']}")
    assert revision["parent"] == dataset["id"]
    assert after["labels"] == "all"
    fewer = made(client.post(f"{PATH}/{before['id']}/labels", json=body | {"labels_per_class": 3}), 202)
    assert fewer["labels"] == 3
    for field in ("images", "seed", "methods"):
        assert after[field] == before[field], field
    assert [one["id"] for one in after["candidates"]] == [checkpoint["id"]]
    assert world.get(f"{PATH}/{before['id']}")["dataset"] == dataset["id"]


@pytest.mark.parametrize("body", [{}, {"labels": []}, {"labels": "file_none"}, {"labels": [{"image": "sample_0"}]}])
def test_labels_that_are_none_leave_nothing_behind(world, client, ask, body):
    world.checkpoint()
    asked = ask(world.dataset())
    assert client.post(f"{PATH}/{asked['id']}/labels", json=body).status_code in (404, 422)
    assert len(world.get(PATH)["data"]) == len(world.get("/v1/datasets")["data"]) == 1


def test_the_report_card_has_forecasts_as_they_were_and_what_they_came_to(world, client, ask):
    card = world.get("/v1/calibration")
    assert (card["object"], card["jobs"], card["coverage"], card["regret"], card["methods"]) == (
        "calibration",
        0,
        None,
        None,
        [],
    )
    checkpoint, dataset = world.checkpoint(), world.dataset()
    ready = answered(world, ask(dataset, methods=["fine_tune", "linear_probe"]), evidence(checkpoint, 0.9))
    truth = {"fine_tune": 0.91, "linear_probe": 0.1}
    for entry in ready["entries"]:
        job = made(client.post(f"{PATH}/{ready['id']}/jobs", json={"rank": entry["rank"]}), 202)
        accuracy = truth[entry["method"]["name"]]
        evaluation = EVALUATION | {"target": EVALUATION["target"] | {"accuracy": accuracy}}
        world.finish_job(job["id"], evaluation=evaluation)
    job = made(client.post(f"{PATH}/{ready['id']}/jobs", json={"rank": 1}), 202)
    world.finish_job(job["id"])  # the same again proves nothing more
    card = world.get("/v1/calibration")
    first, second = ready["entries"]
    errors = [truth[entry["method"]["name"]] - entry["predicted"]["accuracy"] for entry in (first, second)]
    assert (card["jobs"], card["inside"], card["coverage"]) == (2, 1, 0.5)
    assert card["expected"] == pytest.approx(0.9)
    assert card["mean_error"] == pytest.approx(sum(errors) / 2)
    assert card["mean_absolute_error"] == pytest.approx(sum(map(abs, errors)) / 2)
    best = max(truth.values()) - truth[first["method"]["name"]]
    assert (card["compared"], card["regret"]) == (1, pytest.approx(best))
    assert [(one["method"], one["jobs"], one["inside"]) for one in card["methods"]] == [
        ("fine_tune", 1, 1),
        ("linear_probe", 1, 0),
    ]
    [kept, *_] = world.get(f"{PATH}/{ready['id']}")["jobs"]
    assert kept["predicted"] == first["predicted"]
