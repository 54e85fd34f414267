"""A sweep over HTTP with a real worker, which is killed on the way."""

import pytest
from typer.testing import CliRunner

from regraft.cli import app
from tests import digits, services
from tests.services import until

pytestmark = [pytest.mark.any_database, pytest.mark.timeout(600)]
SPACE = {"method.learning_rate": {"log": [1e-6, 1e-2]}, "method.label_smoothing": [0, 0.1]}
METHOD = {"name": "fine_tune", "optimizer": "adamw", "epochs": 9, "batch_size": 32, "augmentation": "none"}


@pytest.fixture(scope="module")
def killable(each_database, tmp_path_factory):
    with services.running(tmp_path_factory.mktemp("home"), each_database.migrated()) as running:
        yield running


@pytest.fixture(scope="module")
def job(killable, tmp_path_factory):
    client = killable.client
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 60))
    dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=120).id
    method = {"name": "train", "network": digits.TINY, "epochs": 1, "batch_size": 32, "augmentation": "none"}
    source = client.jobs.wait(client.jobs.create(method=method, dataset=dataset, seed=1).id, timeout_s=240).model
    return {"dataset": dataset, "checkpoint": source, "method": METHOD, "seed": 2}


def test_it_finds_a_rate_at_which_something_is_learned(killable, job):
    """And where its worker is killed, too: no trial is lost, none is drawn twice."""
    client = killable.client
    asked = client.sweeps.create(job=job, space=SPACE, trials=6, seed=1)
    assert len(asked.candidates) == 2
    until(lambda: any(event.type == "rung" for event in client.sweeps.events(asked.id)), 120)
    killable.kill_worker()
    killable.start_worker()
    found = client.sweeps.wait(asked.id, timeout_s=400)
    assert [one.number for one in sorted(found.candidates, key=lambda one: one.number)] == [1, 2, 3, 4, 5, 6]
    assert len({one.job for one in found.candidates}) == 6
    assert len(list(client.jobs.list(method="fine_tune"))) == 6
    first = found.candidates[0]
    assert first.number == found.winner.number
    rates = [one.drawn["method.learning_rate"] for one in found.candidates]
    assert first.drawn["method.learning_rate"] > min(rates)
    assert any(one.status == "eliminated" for one in found.candidates)
    trained = client.jobs.get(first.job)
    assert trained.method["learning_rate"] == first.drawn["method.learning_rate"]
    alone = client.jobs.create(
        checkpoint=job["checkpoint"], dataset=job["dataset"], method=trained.method, seed=job["seed"]
    )
    model = client.jobs.wait(alone.id, timeout_s=240).model
    assert client.models.get(model).sha256 == client.models.get(found.winner.model).sha256


def test_the_command_shows_what_was_drawn(killable, job, tmp_path):
    space = tmp_path / "space.json"
    space.write_text('{"method.alpha": {"log": [0.1, 10]}}')
    options = ["sweeps", "create", "ridge", "--dataset", job["dataset"], "--checkpoint", job["checkpoint"]]
    options += ["--space", f"@{space}", "--trials", "2", "--no-prune", "--watch"]
    environment = {"REGRAFT_URL": killable.url, "REGRAFT_KEY": killable.client_key, "COLUMNS": "250"}
    done = CliRunner().invoke(app, options, env=environment)
    assert done.exit_code == 0, done.output
    for shown in ("method.alpha", "validation accuracy", "because", "finished"):
        assert shown in done.output
