"""The shapes of checkpoints, datasets, jobs and models from request to result, as docs/api.md has them."""

from datetime import datetime

import pytest
from sqlalchemy import text

from app.db.tables import CheckpointRow, DatasetRow
from app.queue import service as queue
from tests.app.api.world import CLASSES, EVALUATION, INPUT, NETWORK, made

OBJECT = {"id", "object", "created_at"}
CHECKPOINT = OBJECT | {"name", "status", "error", "network", "input", "classes", "parameters", "sha256", "report"}
DATASET = OBJECT | {"name", "status", "error", "format", "classes", "labelled", "image", "splits", "mean", "std"}
JOB = OBJECT | {"started_at", "finished_at", "name", "status", "attempt", "queue_position", "progress", "checkpoint"}
JOB |= {"starts_in_s", "priority", "max_seconds", "tournament", "choice"}
MODEL = OBJECT | {"job", "checkpoint", "dataset", "network", "input", "classes", "sha256", "evaluation", "transfer"}
JOB |= {"dataset", "source_dataset", "method", "seed", "error", "model", "evaluation", "lineage", "metadata"}
JOB |= {"warnings"}


def test_a_checkpoint(world, client):
    queued = world.queued_checkpoint(classes=CLASSES, metadata={"from": "us"})
    assert set(queued) >= CHECKPOINT
    assert (queued["object"], queued["status"], queued["metadata"]) == ("checkpoint", "processing", {"from": "us"})
    assert (queued["network"], queued["servable"], queued["report"]) == (NETWORK, None, None)
    ready = world.checkpoint(recipe={"version": 1, "label_smoothing": 0.1, "augmentation": []})
    assert (ready["status"], ready["input"], ready["classes"], ready["servable"]) == ("ready", INPUT, CLASSES, True)
    assert set(ready["report"]) == {"copied", "renamed", "reshaped", "skipped", "initialised"}
    assert datetime.fromisoformat(ready["created_at"]).utcoffset().total_seconds() == 0
    recipe = client.get(f"/v1/checkpoints/{ready['id']}/recipe")
    assert recipe.json() == {"version": 1, "label_smoothing": 0.1, "augmentation": []}
    assert client.get(f"/v1/checkpoints/{queued['id']}/recipe").status_code == 404


def test_a_checkpoint_that_failed(world, client):
    checkpoint = world.queued_checkpoint()
    world.fail(checkpoint["id"], "wrong_architecture")
    failed = world.get(f"/v1/checkpoints/{checkpoint['id']}")
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "wrong_architecture", "message": "It took too much memory."}


def test_a_pretrained_checkpoint(client):
    body = {"name": "resnet18", "pretrained": "torchvision/resnet18:IMAGENET1K_V1"}
    checkpoint = made(client.post("/v1/checkpoints", json=body), 202)
    assert (checkpoint["status"], checkpoint["pretrained"]) == ("processing", body["pretrained"])
    assert checkpoint["network"] is None
    for wrong in ("resnet18", "torchvision/../x", "torchvision/resnet18:", "keras/x", "timm/a/b"):
        assert client.post("/v1/checkpoints", json=body | {"pretrained": wrong}).status_code == 422


def test_a_model_is_promoted_at_once(world, client):
    model = world.model()
    checkpoint = made(client.post("/v1/checkpoints", json={"name": "again", "model": model["id"]}), 202)
    assert (checkpoint["status"], checkpoint["model"], checkpoint["dataset"]) == (
        "ready",
        model["id"],
        model["dataset"],
    )
    for field in ("network", "input", "classes", "sha256", "parameters"):
        assert checkpoint[field] == model[field]


def warned(world, step: str, *warnings: tuple[str, str]) -> None:
    with world.running(step) as (db, task):
        told = [{"level": "warning", "type": type_, "message": message, "data": {}} for type_, message in warnings]
        queue.tell(db, task, [{"level": "info", "type": "read", "message": "All of it.", "data": {}}, *told])


@pytest.mark.parametrize("noun", ["checkpoint", "dataset"])
def test_what_an_ingest_warns_of_stands_on_the_object_and_in_its_events(noun, world, client):
    made_ = getattr(world, f"queued_{noun}")()
    warned(world, made_["id"], ("odd_names", "Three names are odd."), ("odd_names", "Three names are odd."))
    getattr(world, f"finish_{noun}")(made_["id"])
    warnings = [{"code": "odd_names", "message": "Three names are odd."}]
    assert world.get(f"/v1/{noun}s/{made_['id']}")["warnings"] == warnings
    assert world.get(f"/v1/{noun}s")["data"][0]["warnings"] == warnings
    events = world.get(f"/v1/{noun}s/{made_['id']}/events")["data"]
    assert [e["type"] for e in events if e["level"] == "warning"] == ["odd_names", "odd_names"]
    assert {(e["subject"], e["job"]) for e in events} == {(made_["id"], None)}
    assert client.get(f"/v1/{noun}s/{noun}_0123456789/events").status_code == 404


def test_a_model_has_the_warnings_of_its_job_and_hands_them_on(world, client):
    job = world.queued_job()["id"]
    warned(world, job, ("regression", "The unchanged source is better."))
    world.finish_job(job)
    job = world.get(f"/v1/jobs/{job}")
    model = world.get(f"/v1/models/{job['model']}")
    checkpoint = made(client.post("/v1/checkpoints", json={"name": "again", "model": model["id"]}), 202)
    warnings = [{"code": "regression", "message": "The unchanged source is better."}]
    assert job["warnings"] == model["warnings"] == checkpoint["warnings"] == warnings


def test_class_names_are_as_many_as_the_network_has(client, world):
    body = {"name": "x", "file": world.file()["id"], "network": NETWORK, "classes": ["a", "b"]}
    response = client.post("/v1/checkpoints", json=body)
    assert (response.status_code, response.json()["param"]) == (422, "classes")


def test_a_dataset(world):
    queued = world.queued_dataset(splits={"train": 0.5, "validation": 0.25, "test": 0.25}, seed=3, metadata={"a": "b"})
    assert set(queued) >= DATASET | {"refused", "sha256", "metadata"}
    assert (queued["object"], queued["status"], queued["format"]) == ("dataset", "processing", "auto")
    world.finish_dataset(queued["id"])
    ready = world.get(f"/v1/datasets/{queued['id']}")
    assert (ready["status"], ready["format"], ready["classes"]) == ("ready", "folder", CLASSES)
    assert ready["splits"] == {"train": 6, "validation": 0, "test": 3}
    assert ready["image"] == {"height": 9, "width": 9, "channels": 1}
    assert ready["refused"] == [{"name": "broken.png", "reason": "The image is broken."}]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"splits": {"train": 0.5, "validation": 0.5, "test": 0.5}}, "splits"),
        ({"splits": {"train": 0, "validation": 0.5, "test": 0.5}}, "splits.train"),
        ({"format": "tfrecord"}, "format"),
        ({"labels": "coarsest"}, "labels"),
        ({"file": "file_0000000000"}, "file"),
    ],
)
def test_a_dataset_that_is_refused(world, client, changes, param):
    response = client.post("/v1/datasets", json={"name": "x", "file": world.file()["id"]} | changes)
    assert response.status_code == (404 if param == "file" else 422)
    assert response.json()["param"] == param


def test_samples(world, client):
    dataset = world.dataset()

    def samples(**params):
        return made(client.get(f"/v1/datasets/{dataset['id']}/samples", params=params), 200)

    first = samples(limit=4)
    assert [one["label"] for one in first["data"]] == ["top", "middle", "bottom", "top"]
    assert first["has_more"]
    assert all(one["image"].startswith("data:image/png;base64,") for one in first["data"])
    rest = samples(limit=4, after=first["last_id"])
    assert [one["label"] for one in rest["data"]] == ["middle", "bottom"]
    assert not rest["has_more"]
    assert [one["label"] for one in samples(label="middle")["data"]] == ["middle", "middle"]
    assert len(samples(split="test")["data"]) == 3
    assert samples(split="validation")["data"] == []
    for wrong in ({"label": "left"}, {"split": "all"}, {"after": "7"}, {"limit": 101}):
        assert client.get(f"/v1/datasets/{dataset['id']}/samples", params=wrong).status_code == 422
    waiting = world.queued_dataset()
    response = client.get(f"/v1/datasets/{waiting['id']}/samples")
    assert (response.status_code, response.json()["code"]) == (409, "not_ready")


def test_a_job_from_request_to_model(world, client):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    body = {
        "checkpoint": checkpoint["id"],
        "dataset": dataset["id"],
        "method": {"name": "fine_tune", "labels_per_class": 2},
        "seed": 7,
        "name": "first try",
        "metadata": {"a": "b"},
    }
    queued = made(client.post("/v1/jobs", json=body), 202)
    assert set(queued) == JOB
    assert (queued["object"], queued["status"], queued["attempt"]) == ("job", "queued", 0)
    assert isinstance(queued["queue_position"], int)
    assert queued["progress"] == {"step": 0, "total_steps": None, "fraction": 0.0, "eta_s": None}
    assert (queued["seed"], queued["name"], queued["metadata"]) == (7, "first try", {"a": "b"})
    assert (queued["method"]["labels_per_class"], queued["method"]["batch_size"]) == (2, 8)  # resolved and echoed
    assert queued["method"]["augmentation"] == [{"name": "random_crop", "padding": 1}]
    assert queued["lineage"]["checkpoint_sha256"] == checkpoint["sha256"]
    assert queued["lineage"]["dataset_sha256"] == dataset["sha256"]
    assert client.get(f"/v1/jobs/{queued['id']}").json() == queued

    world.finish_job(queued["id"])
    done = world.get(f"/v1/jobs/{queued['id']}")
    assert (done["status"], done["queue_position"], done["progress"]["fraction"]) == ("succeeded", None, 1.0)
    assert done["evaluation"] == EVALUATION
    model = world.get(f"/v1/models/{done['model']}")
    assert set(model) >= MODEL
    assert (model["object"], model["job"], model["metadata"]) == ("model", done["id"], {"a": "b"})
    assert (model["checkpoint"], model["dataset"]) == (checkpoint["id"], dataset["id"])
    assert model["evaluation"] == EVALUATION
    card = client.get(f"/v1/models/{model['id']}/card")
    assert card.headers["Content-Type"].startswith("text/markdown")
    assert model["id"] in card.text
    assert "fine_tune" in card.text
    report = client.get(f"/v1/models/{model['id']}/report")
    assert report.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in report.headers["Content-Security-Policy"]
    assert all(text in report.text for text in (model["id"], "1.weight", model["sha256"]))


def test_names_in_a_report_are_text(world, client):
    dataset = world.dataset(name="<script>alert(1)</script>")
    model = world.model(dataset=dataset["id"])
    report = client.get(f"/v1/models/{model['id']}/report").text
    assert "&lt;script&gt;" in report
    assert "<script>" not in report


def test_verbs(world, client):
    job = world.queued_job()["id"]

    def verb(name, status=200):
        response = client.post(f"/v1/jobs/{job}/{name}")
        assert response.status_code == status, response.text
        return response.json()["status" if status == 200 else "code"]

    assert verb("resume", 409) == "wrong_status"
    assert verb("retry", 409) == "wrong_status"
    assert verb("pause") == "paused"
    assert verb("pause", 409) == "wrong_status"
    assert verb("resume") == "queued"
    assert verb("cancel") == "cancelled"
    assert verb("cancel", 409) == "wrong_status"
    assert verb("retry") == "queued"
    world.fail(job)
    assert world.get(f"/v1/jobs/{job}")["error"]["code"] == "out_of_memory"
    assert verb("retry") == "queued"
    assert world.get(f"/v1/jobs/{job}")["error"] is None
    world.finish_job(job)
    for name in ("cancel", "pause", "resume", "retry"):
        assert verb(name, 409) == "wrong_status"


def test_verbs_take_any_body_that_says_nothing(world, client):
    job = world.queued_job()["id"]
    assert client.post(f"/v1/jobs/{job}/pause", json={}).status_code == 200
    assert client.post(f"/v1/jobs/{job}/resume", content=b"").status_code == 200
    assert client.post(f"/v1/jobs/{job}/cancel", headers={"Content-Type": "application/json"}).status_code == 200


NEW = {"network": NETWORK, "input": INPUT}


def test_a_job_that_cannot_be(world, client):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    unlabelled, failed = world.queued_dataset(labelled=False), world.queued_dataset()
    world.fail(failed["id"], "not_an_archive")
    gone, sealed = [dataset["id"], "ds_0000000000"], [dataset["id"], unlabelled["id"]]
    for changes, status, code, param in (
        ({"checkpoint": None}, 422, "invalid_request", "checkpoint"),
        ({"checkpoint": "ckpt_0000000000"}, 404, "not_found", "checkpoint"),
        ({"checkpoint": "model_0000000000"}, 404, "not_found", "checkpoint"),
        ({"dataset": "ds_0000000000"}, 404, "not_found", "dataset"),
        ({"dataset": unlabelled["id"]}, 422, "does_not_fit", "dataset"),
        ({"dataset": failed["id"]}, 409, "not_ready", "dataset"),
        ({"method": {"name": "fine_tune", "train_size": 7}}, 422, "does_not_fit", "method.train_size"),
        ({"method": {"name": "train", "network": NETWORK}}, 422, "invalid_request", "checkpoint"),
        ({"method": {"name": "simclr"}, "checkpoint": None}, 422, "invalid_request", "checkpoint"),
        ({"method": {"name": "simclr", "network": NETWORK}}, 422, "invalid_request", "method.network"),
        ({"method": {"name": "erm", "environments": gone}}, 404, "not_found", "method.environments.1"),
        ({"method": {"name": "erm", "environments": sealed}}, 422, "does_not_fit", "method.environments.1"),
    ):
        body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": {"name": "fine_tune"}} | changes
        for path in ("/v1/jobs", "/v1/jobs/preflight"):
            response = client.post(path, json=body)
            if code == "does_not_fit" and path.endswith("preflight"):
                found = made(response, 200)
                assert not found["fits"]
                assert param in [fault["param"] for fault in found["errors"]]
            else:
                assert (response.status_code, response.json()["code"]) == (status, code), (changes, response.text)
                assert response.json()["param"] == param
    assert client.get("/v1/jobs").json()["data"] == []


def test_what_needs_no_checkpoint_may_have_one(world, client):
    environments = [world.dataset()["id"], world.dataset()["id"]]
    for method in ({"name": "byol"}, {"name": "irm", "environments": environments}):
        for changes in ({"checkpoint": world.checkpoint()["id"], "method": method}, {"method": method | NEW}):
            job = world.queued_job(**changes)
            assert job["method"]["epochs"] > 1
            assert job["checkpoint"] == changes.get("checkpoint")
    catalogue = {line["name"]: line for line in client.get("/v1/methods", params={"limit": 100}).json()["data"]}
    assert (catalogue["irm"]["needs"], catalogue["irm"]["takes"]) == (["environments"], ["checkpoint"])


def test_preflight_says_what_it_would_come_to(world, client):
    checkpoint, waiting = world.checkpoint(), world.queued_dataset()
    body = {"checkpoint": checkpoint["id"], "dataset": waiting["id"], "method": {"name": "linear_probe"}}
    found = made(client.post("/v1/jobs/preflight", json=body), 200)
    assert (found["object"], found["fits"], found["waits_for"]) == ("preflight", True, [waiting["id"]])
    assert (found["parameters"], found["images"]) == (246, None)
    world.finish_dataset(waiting["id"])
    found = made(client.post("/v1/jobs/preflight", json=body), 200)
    assert (found["waits_for"], found["images"]) == ([], 6)
    assert found["steps"] == found["method"]["epochs"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_preflight_closes_defaults_for_the_size_that_will_be_seen(world, client):
    """A crop's padding is an eighth of the smaller side."""
    checkpoint, dataset = world.checkpoint()["id"], world.dataset()["id"]
    body = {"checkpoint": checkpoint, "dataset": dataset}

    def crop(method, **rest):
        resolved = made(client.post("/v1/jobs/preflight", json=rest | {"dataset": dataset, "method": method}), 200)
        return resolved["method"]["augmentation"][0]["padding"]

    tune = {"name": "fine_tune", "input": {"size": [40, 48]}}
    assert crop(tune, checkpoint=checkpoint) == 5
    said = {"name": "timm/vit_tiny_patch16_224", "num_classes": 3, "options": {"img_size": 64}}
    assert crop({"name": "train", "network": said}) == 8
    assert crop({"name": "train", "network": said | {"options": {}}}) == 4  # the dataset's 9 pixels, but 32 at least
    faulty = body | {"method": tune | {"input": {"size": [8, 8], "margin": 4}}}
    found = made(client.post("/v1/jobs/preflight", json=faulty), 200)
    assert [one["param"] for one in found["errors"]] == ["method.input"]


def test_preflight_waits_for_no_writer(world, client):
    """Another writes for long: on SQLite it has the write lock, on Postgres the rows of what is asked about."""
    checkpoint, dataset = world.checkpoint(), world.dataset()
    body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": {"name": "linear_probe"}}
    with world.database.unit_of_work() as db:
        if db.get_bind().dialect.name == "postgresql":  # which would end this transaction where the machine is slow
            db.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        for table, row in ((CheckpointRow, checkpoint), (DatasetRow, dataset)):
            db.get(table, row["id"], with_for_update=True).name = "changing"
        db.flush()
        assert made(client.post("/v1/jobs/preflight", json=body), 200)["fits"]
