"""`reg_mean` looks at what each source was trained on: found where that is known, asked for where it is not."""

import pytest

from tests.app.api.world import NETWORK, made


@pytest.fixture
def target(world):
    return world.dataset()["id"]


def asked(world, target, sources, status=202, **parameters):
    method = {"name": "reg_mean", "sources": sources} | parameters
    body = {"checkpoint": world.checkpoint()["id"], "dataset": target, "method": method}
    return made(world.client.post("/v1/jobs", json=body), status)


def test_it_is_the_data_of_the_job_that_made_the_model_and_the_checkpoints_known_dataset(world, target):
    datasets = [world.dataset()["id"] for _ in range(2)]
    sources = [world.model(dataset=datasets[0])["id"], promoted(world, world.model(dataset=datasets[1])["id"])]
    job = asked(world, target, sources)
    assert job["method"]["training_sets"] == {sources[0]: [datasets[0]], sources[1]: [datasets[1]]}
    assert set(datasets) <= set(inputs(world, job))


def promoted(world, model):
    body = {"name": "promoted", "model": model}
    return made(world.client.post("/v1/checkpoints", json=body), 202)["id"]


def inputs(world, job):
    """Ids of the datasets that the run is given beside its own."""
    from app.jobs import service as jobs

    with world.database.unit_of_work() as db:
        prepared = jobs.prepare(db, job["id"])
    environments = prepared.spec.environments
    assert all(f"environment.{id_}.pixels" in prepared.inputs for id_ in environments)
    return environments


def test_of_several_domains_it_is_all_that_were_learned_from(world, target):
    domains = [world.dataset()["id"] for _ in range(2)]
    erm = world.model(dataset=target, method={"name": "erm", "network": NETWORK, "environments": domains})["id"]
    for source in (erm, promoted(world, erm)):
        other = world.model()
        job = asked(world, target, [source, other["id"]])
        assert job["method"]["training_sets"] == {source: domains, other["id"]: [other["dataset"]]}


def test_where_it_is_unknown_the_refusal_says_what_to_give(world, target):
    known, unknown = world.model()["id"], world.checkpoint()["id"]
    problem = asked(world, target, [known, unknown], 422)
    assert problem["param"] == "method.training_sets"
    assert f'"training_sets": {{"{unknown}": ["ds_' in problem["detail"]
    job = asked(world, target, [known, unknown], training_sets={unknown: [target]})
    assert job["method"]["training_sets"][unknown] == [target]


def test_what_is_named_must_be_there_and_of_a_source(world, target):
    sources = [world.model()["id"], world.model()["id"]]
    problem = asked(world, target, sources, 404, training_sets={sources[0]: ["ds_nobody000"]})
    assert problem["param"] == f"method.training_sets.{sources[0]}.0"
    asked(world, target, sources, 422, training_sets={"model_of0another": [target]})
