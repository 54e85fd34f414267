"""Jobs of a tournament: each pauses at its rung with a score, and goes on to what an undisturbed job makes."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.contract.specs import Race
from tests.worker.methods import tasks
from worker.runtime.contract import Failure, Interrupted, Metric, Note
from worker.runtime.recorder import Recorder

CLASSES = 3
LOOP = {"epochs": 9, "batch_size": 8}
METHODS = {
    "fine_tune": LOOP,
    "fine_tune_averaged": LOOP | {"average": 0.9},
    "linear_probe": LOOP,  # the trainer has the head alone
    "shot": LOOP,  # validates without labels
    "fixmatch": LOOP,
}


@pytest.fixture
def setting(tmp_path):
    def setting(method, splits=tasks.SPLITS, **changes):
        data = tasks.dataset(tmp_path / "data", CLASSES, per_class=16, splits=splits)
        return tasks.Setting(method, tasks.source(tmp_path / "source", CLASSES), data, **changes)

    return setting


def spec(case, workdir, pause_after, **changes):
    plain = case.spec(workdir, **changes)
    return replace(plain, payload=plain.payload.model_copy(update={"race": Race(pause_after=pause_after)}))


def learn(case, workdir, pause_after, **changes):
    """The scores, and the outcome (None where it paused)."""
    recorder = Recorder(None)
    try:
        measured = tasks.run_job.learn(spec(case, workdir, pause_after, **changes), recorder)
    except Interrupted:
        return scores(recorder), None
    return scores(recorder), tasks.Outcome(measured, workdir, recorder)


def scores(recorder):
    notes = [note.data for note in recorder.of(Note) if note.type == "score"]
    points = [point for point in recorder.of(Metric) if point.name == "score"]
    assert [(point.split, point.value) for point in points] == [
        ("validation", note["right"] / note["n"]) for note in notes
    ]
    return notes


def bits(score):
    return np.unpackbits(np.frombuffer(base64.b64decode(score["hits"]), np.uint8))[: score["n"]]


@pytest.mark.parametrize("name", METHODS)
def test_a_winner_is_what_an_undisturbed_job_makes(tmp_path, setting, name):
    case = setting({"name": name.removesuffix("_averaged")} | METHODS[name])
    whole = tasks.run(case, tmp_path / "whole")
    snapshot = None
    for number, (rung, epochs) in enumerate([(1 / 9, 1), (1 / 3, 3)]):
        work = tmp_path / str(number)
        [score], outcome = learn(case, work, rung, snapshot=snapshot)
        assert outcome is None
        assert (score["share"], score["n"]) == (pytest.approx(epochs / 9), 12)
        assert bits(score).sum() == score["right"]
        snapshot = sorted(work.glob("snapshot-*"))[-1]
        again, outcome = learn(case, tmp_path / f"again {number}", rung, snapshot=snapshot)
        assert (again, outcome) == ([], None), "resumed without a further rung it pauses at once, and says nothing new"
    [last], rest = learn(case, tmp_path / "rest", None, snapshot=snapshot)
    assert last["share"] == 1
    assert rest is not None
    assert rest.document == whole.document
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())


@pytest.mark.parametrize("method", [{"name": "ridge"}, {"name": "evaluate"}, {"name": "fine_tune", "epochs": 1}])
def test_what_has_no_rung_before_its_end_runs_to_it(tmp_path, setting, method):
    [score], outcome = learn(setting(method, splits=(0, 0, 0, 0, 1, 1, 2, 2)), tmp_path / "run", 1 / 9)
    assert (score["share"], score["n"]) == (1, 12)
    assert outcome is not None


def test_a_head_start_is_no_training(tmp_path, setting):
    """The rung of `fine_tune` lies in what follows the probe, not in the probe."""
    case = setting({"name": "fine_tune", "head_start": "probe"} | LOOP)
    [score], _ = learn(case, tmp_path / "run", 1 / 3)
    assert score["step"] == 3 * score["total_steps"] / 9


def test_no_more_labels_are_read_than_the_job_may_see(tmp_path, setting):
    [score], _ = learn(setting({"name": "fine_tune", "labels_per_class": 1} | LOOP), tmp_path / "run", 1 / 3)
    assert score["n"] == CLASSES


def test_images_of_classes_that_the_network_does_not_know_are_wrong(tmp_path, setting):
    case = setting({"name": "evaluate"})
    document, _ = case.source
    known = tasks.source(tmp_path / "few", CLASSES - 1)
    case = replace(case, source=(document | known[0], known[1]))
    [score], _ = learn(case, tmp_path / "run", None)
    assert score["n"] == 12
    assert not bits(score)[-4:].any()


def test_without_validation_labels_it_fails(tmp_path, setting):
    case = setting({"name": "fine_tune"} | LOOP, splits=(0, 0, 0, 0, 0, 0, 2, 2))
    with pytest.raises(Failure, match="validation labels"):
        learn(case, tmp_path / "run", 1 / 3)
