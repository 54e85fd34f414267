"""`auto` over HTTP with a real worker: checkpoint and method are chosen, and the result is the winner's."""

import pytest
from typer.testing import CliRunner

from regraft import Conflict, Invalid, Unsuccessful
from regraft.cli import app
from tests import digits, services
from tests.services import until

pytestmark = [pytest.mark.any_database, pytest.mark.timeout(600)]
FAST = {"epochs": 8, "batch_size": 32, "augmentation": "none"}
LABELS = 10  # a class


@pytest.fixture(scope="module")
def killable(each_database, tmp_path_factory):
    with services.running(tmp_path_factory.mktemp("home"), each_database.migrated()) as running:
        yield running


def dataset(client, path, **options):
    file = client.files.upload(path)
    return client.datasets.wait(client.datasets.create(name=path.stem, file=file.id, **options).id, timeout_s=120).id


@pytest.fixture(scope="module")
def target(killable, tmp_path_factory):
    return dataset(killable.client, digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 60))


@pytest.fixture(scope="module")
def bare(killable, tmp_path_factory):
    path = digits.optdigits_folders(tmp_path_factory.mktemp("d") / "bare.zip", 40)
    return dataset(killable.client, path, labelled=False)


@pytest.fixture(scope="module")
def sources(killable, tmp_path_factory):
    """A network that knows digits of another hand, and one that has hardly learned."""
    client = killable.client
    there = dataset(client, digits.mnist_idx(tmp_path_factory.mktemp("d") / "mnist.zip", 60))
    method = {"name": "train", "network": digits.TINY, **FAST}
    asked = [client.jobs.create(method=method | {"epochs": epochs}, dataset=there) for epochs in (20, 1)]
    return [client.jobs.wait(job.id, timeout_s=240).model for job in asked]


def auto(client, dataset, checkpoint=None, **method):
    return client.jobs.create(method={"name": "auto", **method}, dataset=dataset, checkpoint=checkpoint, seed=3)


@pytest.fixture(scope="module")
def chosen(killable, target, sources):
    asked = auto(killable.client, target, checkpoints=sources)
    assert asked.status in ("queued", "running")
    return killable.client.jobs.wait(asked.id, timeout_s=400)


def test_the_result_is_that_of_the_winner(killable, target, sources, chosen):
    client = killable.client
    assert chosen.status == "succeeded", chosen.error
    tournament = client.tournaments.get(chosen.choice.tournament)
    assert tournament.recommendation == chosen.choice.recommendation
    assert (tournament.winner.job, tournament.winner.model) == (chosen.choice.job, chosen.model)
    won = client.jobs.get(chosen.choice.job)
    assert chosen.evaluation == won.evaluation
    assert (chosen.choice.checkpoint, chosen.choice.method) == (won.checkpoint, won.method)
    assert chosen.choice.because == tournament.because
    raced = {one.method["name"] for one in tournament.candidates}
    assert {"fine_tune", "linear_probe", "shot", "adabn", "evaluate", "train"} <= raced
    unchanged = [one for one in tournament.candidates if one.baseline == "unchanged"]
    assert {one.checkpoint for one in unchanged} == set(sources)
    first = tournament.candidates[0]
    assert all(first.accuracy >= one.accuracy for one in unchanged), "never below a source"
    assert chosen.method["name"] == "auto"
    answer = client.models.predict(chosen.model, images=[digits.one_png(number) for number in range(4)])
    assert [one.label for one in answer] == list("0123")
    types = [event.type for event in client.jobs.events(chosen.id)]
    assert types[:3] == ["queued", "running", "shortlisted"]
    assert types[-2:] == ["chosen", "succeeded"]


def test_it_is_among_the_jobs_and_goes_without_its_parts(killable, chosen):
    client = killable.client
    assert chosen.id in [job.id for job in client.jobs.list(method="auto")]
    assert chosen.id in [job.id for job in client.jobs.list(status="succeeded")]
    with pytest.raises(Conflict):
        client.recommendations.delete(chosen.choice.recommendation)
    client.jobs.delete(chosen.id)
    assert client.models.get(chosen.model).job == chosen.choice.job
    client.tournaments.delete(chosen.choice.tournament)
    client.recommendations.delete(chosen.choice.recommendation)


def test_a_worker_that_is_killed_changes_nothing(killable, target, sources, chosen):
    """While the recommendation is measured, and while candidates race."""
    client = killable.client
    asked = auto(client, target, checkpoints=sources)
    for part in ("recommendation", "tournament"):
        until(lambda part=part: getattr(client.jobs.get(asked.id).choice, part, None) is not None, 120)
        killable.kill_worker()
        killable.start_worker()
    again = client.jobs.wait(asked.id, timeout_s=400)
    assert again.choice.method == chosen.choice.method
    assert again.choice.checkpoint == chosen.choice.checkpoint
    assert client.models.get(again.model).sha256 == client.models.get(chosen.model).sha256


def test_a_budget_lets_fewer_race(killable, target, sources):
    client = killable.client
    done = client.jobs.wait(auto(client, target, checkpoints=sources, budget_s=9).id, timeout_s=400)
    said = next(event for event in client.jobs.events(done.id) if event.type == "shortlisted").data
    assert 1 <= said["candidates"] < min(8, said["of"])
    assert said["budget_s"] == 9


def test_a_budget_in_which_nothing_fits_shortens_the_first(killable, target, sources):
    client = killable.client
    done = client.jobs.wait(auto(client, target, checkpoints=sources, budget_s=1).id, timeout_s=400)
    [warned] = [warned for warned in done.warnings if warned.code == "shortened"]
    tournament = client.tournaments.get(done.choice.tournament)
    [asked] = [one for one in tournament.candidates if one.baseline is None]
    assert f"`{asked.method['name']}` is to train for {asked.method['epochs']} of its" in warned.message


def test_without_labels_it_takes_the_usual_method(killable, bare, sources):
    client = killable.client
    done = client.jobs.wait(auto(client, bare, sources[0]).id, timeout_s=240)
    assert (done.choice.recommendation, done.choice.tournament) == (None, None)
    assert done.choice.method["name"] == "shot"
    assert "no labels" in done.choice.because
    assert client.models.get(done.model).job == done.choice.job


def test_cancelling_it_cancels_its_parts_and_it_can_be_tried_again(killable, target, sources):
    client = killable.client
    asked = auto(client, target, checkpoints=sources, labels_per_class=LABELS)
    until(lambda: client.jobs.get(asked.id).status == "running", 60)
    with pytest.raises(Conflict, match="runs nothing"):
        client.jobs.pause(asked.id)
    until(lambda: client.jobs.get(asked.id).choice.tournament is not None, 120)
    client.jobs.cancel(asked.id)
    with pytest.raises(Unsuccessful):
        client.jobs.wait(asked.id, timeout_s=60)
    tournament = client.tournaments.get(client.jobs.get(asked.id).choice.tournament)
    labelled = {"fine_tune", "linear_probe", "lp_ft", "train", "fixmatch"}
    found = {one.method["name"]: one.method.get("labels_per_class") for one in tournament.candidates}
    assert "fixmatch" in found, "most of the images are beyond the limit"
    assert {limit for name, limit in found.items() if name in labelled} == {LABELS}
    assert tournament.status in ("cancelling", "cancelled")
    until(lambda: client.tournaments.get(tournament.id).finished, 60)
    client.jobs.retry(asked.id)
    until(lambda: client.jobs.get(asked.id).choice.tournament not in (None, tournament.id), 120)
    client.jobs.cancel(asked.id)
    until(lambda: client.jobs.get(asked.id).finished, 60)


def test_a_part_that_is_cancelled_fails_it(killable, target, sources):
    client = killable.client
    asked = auto(client, target, checkpoints=sources)
    until(lambda: getattr(client.jobs.get(asked.id).choice, "tournament", None) is not None, 120)
    client.tournaments.cancel(client.jobs.get(asked.id).choice.tournament)
    with pytest.raises(Unsuccessful, match="cancelled"):
        client.jobs.wait(asked.id, timeout_s=60)


def test_what_cannot_be_chosen_is_refused_at_once(killable, target, bare, sources):
    client = killable.client
    with pytest.raises(Invalid, match="not both"):
        auto(client, target, sources[0], checkpoints=sources)
    with pytest.raises(Invalid, match="name one"):
        auto(client, bare, checkpoints=sources)
    with pytest.raises(Invalid, match="has no labels"):
        auto(client, bare, sources[0], labels_per_class=2)
    with pytest.raises(Invalid, match="a job of its own"):
        client.tournaments.create(dataset=target, candidates=[{"checkpoint": sources[0], "method": {"name": "auto"}}])
    with pytest.raises(Invalid, match="recommendation"):
        client.preflights.create(method={"name": "auto"}, dataset=target, checkpoint=sources[0])


def test_the_command_says_what_was_chosen(killable, target, sources):
    options = ["jobs", "create", "auto", "--dataset", target, "--checkpoint", sources[0], "-s", "max_jobs=2", "--watch"]
    environment = {"REGRAFT_URL": killable.url, "REGRAFT_KEY": killable.client_key, "COLUMNS": "250"}
    done = CliRunner().invoke(app, options, env=environment)
    assert done.exit_code == 0, done.output
    assert "chosen" in done.output
    assert "validation images" in done.output
