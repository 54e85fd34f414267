"""A network whose head was drawn at random answers nothing that is asked of its head."""

import pytest

from app.core import errors
from app.jobs import service as jobs
from tests.app.api.world import made, png


@pytest.fixture
def checkpoint(world):
    return world.checkpoint(untrained_head=True)


@pytest.fixture
def dataset(world):
    return world.dataset()


def refused(response, param=None):
    problem = response.json()
    assert (response.status_code, problem["code"]) == (409, "untrained_head"), problem
    assert problem.get("param") == param
    assert "at random" in problem["detail"] or "as it was drawn" in problem["detail"]


def test_a_checkpoint_says_it_and_makes_no_predictions(client, checkpoint):
    assert checkpoint["untrained_head"] is True
    path = f"/v1/checkpoints/{checkpoint['id']}/predictions"
    refused(client.post(path, content=png("top"), headers={"Content-Type": "image/png"}))
    refused(client.post(path, files=[("images", ("0.png", png("top"), "image/png"))]))


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/preflight"])
@pytest.mark.parametrize(
    ("method", "param"),
    [
        ({"name": "evaluate"}, "checkpoint"),
        ({"name": "tent"}, "checkpoint"),
        ({"name": "fine_tune", "terms": [{"name": "distillation"}]}, "method.terms.0.teacher"),
        ({"name": "fine_tune", "terms": [{"name": "lwf"}]}, "method.terms.0"),
    ],
    ids=["evaluate", "source-free", "distillation", "learning without forgetting"],
)
def test_no_method_asks_it_for_classes(client, checkpoint, dataset, path, method, param):
    body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": method}
    refused(client.post(path, json=body), param)


def test_methods_that_learn_from_labels_start_from_it(client, checkpoint, dataset):
    for method in ({"name": "fine_tune"}, {"name": "linear_probe"}):
        body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": method}
        made(client.post("/v1/jobs", json=body), 202)


def test_a_job_that_waited_for_it_is_refused_when_it_starts(world, client, dataset):
    waiting = world.queued_checkpoint()
    body = {"checkpoint": waiting["id"], "dataset": dataset["id"], "method": {"name": "evaluate"}}
    job = made(client.post("/v1/jobs", json=body), 202)
    world.finish_checkpoint(waiting["id"], untrained_head=True)
    with world.database.unit_of_work() as db, pytest.raises(errors.UntrainedHead) as failed:
        jobs.prepare(db, job["id"])
    assert failed.value.code == "untrained_head"  # the code that the job fails with


def test_a_model_keeps_the_fact_and_so_does_what_is_promoted_from_it(world, client):
    job = world.queued_job()
    world.finish_job(job["id"], untrained_head=True)
    made_model = world.get(f"/v1/jobs/{job['id']}")["model"]
    model = world.get(f"/v1/models/{made_model}")
    assert model["untrained_head"] is True
    image = {"content": png("top"), "headers": {"Content-Type": "image/png"}}
    refused(client.post(f"/v1/models/{model['id']}/predictions", **image))
    assert len(made(client.post(f"/v1/models/{model['id']}/embeddings", **image), 200)["data"]) == 1
    promoted = made(client.post("/v1/checkpoints", json={"name": "p", "model": model["id"]}), 202)
    assert promoted["untrained_head"] is True
    refused(client.post(f"/v1/checkpoints/{promoted['id']}/predictions", **image))
