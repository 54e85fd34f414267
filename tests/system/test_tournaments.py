"""Tournaments over HTTP with a real worker: who wins, that it is what it would be alone, and that nothing is lost."""

import pytest
from typer.testing import CliRunner

from regraft import Conflict, Unsuccessful
from regraft.cli import app
from tests import digits, services
from tests.services import until

pytestmark = [pytest.mark.any_database, pytest.mark.timeout(600)]
FAST = {"epochs": 9, "batch_size": 32, "augmentation": "none"}
CANDIDATES = [
    {"name": "fine_tune", **FAST},
    {"name": "fine_tune", "learning_rate": 1e-7, **FAST},
    {"name": "linear_probe", **FAST},
    {"name": "ridge"},
]


@pytest.fixture(scope="module")
def killable(each_database, tmp_path_factory):
    with services.running(tmp_path_factory.mktemp("home"), each_database.migrated()) as running:
        yield running


@pytest.fixture(scope="module")
def dataset(killable, tmp_path_factory):
    client = killable.client
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 60))
    return client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=120).id


@pytest.fixture(scope="module")
def source(killable, dataset):
    """A network that has learned a little of the dataset's classes: it can race unchanged."""
    client = killable.client
    method = {"name": "train", "network": digits.TINY, "epochs": 2, "batch_size": 32, "augmentation": "none"}
    return client.jobs.wait(client.jobs.create(method=method, dataset=dataset, seed=1).id, timeout_s=240).model


def race(client, dataset, source, **options):
    candidates = [{"checkpoint": source, "method": method} for method in CANDIDATES]
    return client.tournaments.create(dataset=dataset, candidates=candidates, seed=2, **options)


@pytest.fixture(scope="module")
def tournament(killable, dataset, source):
    client, states = killable.client, []
    asked = race(client, dataset, source, name="which")
    found = client.tournaments.wait(asked.id, timeout_s=400, seen=states.append)
    assert {state.status for state in states} <= {"running", "succeeded"}
    return found


def test_there_is_one_winner_and_the_hopeless_are_left_behind(killable, tournament):
    client = killable.client
    assert len(tournament.candidates) == 6
    assert [one.rank for one in tournament.candidates] == list(range(1, 7))
    assert {one.baseline for one in tournament.candidates} == {None, "unchanged", "scratch"}
    first = tournament.candidates[0]
    assert (first.number, first.job, first.model) == (
        tournament.winner.number,
        tournament.winner.job,
        tournament.winner.model,
    )
    assert f"#{first.number}" in tournament.because
    by_number = {one.number: one for one in tournament.candidates}
    assert by_number[4].status == "eliminated", "at such a rate nothing is learned"
    unchanged = by_number[1]
    assert (unchanged.baseline, unchanged.status) == ("unchanged", "finished")
    assert first.accuracy >= unchanged.accuracy, "never below the source"
    for one in tournament.candidates:
        low, high = one.interval
        assert 0 <= low <= one.accuracy <= high <= 1
        job = client.jobs.get(one.job)
        assert job.tournament == tournament.id
        assert job.status == {"finished": "succeeded", "eliminated": "cancelled"}[one.status]
        points = [p for p in client.jobs.metrics(one.job, name="score") if p.split == "validation"]
        assert sorted(p.value for p in points) == sorted(s.accuracy for s in one.scores)
    assert "validation labels" in tournament.label_use
    types = [event.type for event in client.tournaments.events(tournament.id)]
    assert types.count("rung") == 2
    assert types[-2:] == ["winner", "succeeded"]


def test_who_comes_to_the_end_is_what_it_would_be_alone(killable, dataset, tournament):
    client = killable.client
    raced = [one for one in tournament.candidates if one.status == "finished" and len(one.scores) == 3]
    assert raced
    for one in raced:
        alone = client.jobs.create(checkpoint=one.checkpoint, dataset=dataset, method=one.method, seed=2)
        alone = client.jobs.wait(alone.id, timeout_s=240)
        assert client.models.get(alone.model).sha256 == client.models.get(one.model).sha256
        assert alone.evaluation == client.jobs.get(one.job).evaluation


def test_a_worker_that_is_killed_loses_and_doubles_nothing(killable, dataset, source, tournament):
    """While candidates run to the first rung, and while those that are left run on."""
    client = killable.client
    asked = race(client, dataset, source)
    jobs = {one.job for one in asked.candidates}
    for rung in range(2):
        until(lambda rung=rung: _over(client, asked.id) or _rungs(client, asked.id) >= rung, 120)
        killable.kill_worker()
        killable.start_worker()
    again = client.tournaments.wait(asked.id, timeout_s=400)
    assert {one.job for one in again.candidates} == jobs
    same = [(one.number, one.status, one.accuracy, one.rung) for one in again.candidates]
    assert same == [(one.number, one.status, one.accuracy, one.rung) for one in tournament.candidates]
    weights = [client.models.get(found.winner.model).sha256 for found in (again, tournament)]
    assert weights[0] == weights[1]
    for one in again.candidates:
        shares = [event.data["share"] for event in client.jobs.events(one.job) if event.type == "score"]
        assert sorted(set(shares)) == [score.share for score in one.scores]


def _rungs(client, tournament):
    return [event.type for event in client.tournaments.events(tournament)].count("rung")


def _over(client, tournament):
    return client.tournaments.get(tournament).finished


def test_cancelling_it_cancels_its_jobs(killable, dataset, source):
    client = killable.client
    asked = race(client, dataset, source)
    with pytest.raises(Conflict):
        client.tournaments.delete(asked.id)
    client.tournaments.cancel(asked.id)
    with pytest.raises(Unsuccessful):
        client.tournaments.wait(asked.id, timeout_s=60)
    found = client.tournaments.get(asked.id)
    assert found.status == "cancelled"
    assert {client.jobs.get(one.job).status for one in found.candidates} <= {"cancelled", "succeeded"}
    with pytest.raises(Conflict):
        client.tournaments.cancel(asked.id)
    client.tournaments.delete(asked.id)
    assert asked.id not in [one.id for one in client.tournaments.list()]


def test_what_is_recommended_can_race(killable, dataset, source):
    client = killable.client
    asked = client.recommendations.create(
        dataset=dataset, checkpoints=[source], methods=["linear_probe", "evaluate"], images=100
    )
    client.recommendations.wait(asked.id, timeout_s=240)
    options = ["tournaments", "create", "--dataset", dataset, "--max-jobs", "3", "--watch"]
    environment = {"REGRAFT_URL": killable.url, "REGRAFT_KEY": killable.client_key, "COLUMNS": "250"}
    done = CliRunner().invoke(app, options, env=environment)
    assert done.exit_code == 0, done.output
    for shown in ("evaluate", "linear_probe", "validation accuracy", "because"):
        assert shown in done.output
