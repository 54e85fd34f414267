"""The same seed gives the same bytes, however busy the machine is; where a trial is asked for, one counts for all."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runtime.contract import Note
from worker.training import precision

FINE_TUNE = {"name": "fine_tune", "epochs": 2, "batch_size": 8}
WITH_TEST = (0, 0, 0, 0, 1, 1, 2, 2)


@pytest.fixture
def busy(monkeypatch):
    """A machine that is busy as the job starts and less so with every step: what is tried later seems the faster; and
    no training is too short for a trial."""
    steps = itertools.count()

    def seconds() -> float:
        return sum(100 * 0.5**step for step in range(next(steps)))

    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=seconds))
    monkeypatch.setattr(precision, "SHORT_S", 0.0)
    monkeypatch.setattr(precision, "MOST_SHARE", 1e9)


@pytest.fixture
def go(tmp_path):
    source, data = tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10, splits=WITH_TEST)
    numbers = iter(range(100))
    return lambda method: tasks.run(Setting(method, source, data), tmp_path / f"run{next(numbers)}")


def trials(outcome):
    return [note for note in outcome.recorder.of(Note) if note.type == "pace"]


@pytest.mark.parametrize("method", [FINE_TUNE, FINE_TUNE | {"name": "train", "network": tasks.network(10)}])
def test_load_changes_no_byte_of_a_default_job(go, request, method):
    alone = go(method)
    request.getfixturevalue("busy")
    loaded = go(method)
    assert not trials(loaded)
    assert "pace" not in loaded.document["transfer"]
    assert all(torch.equal(tensor, loaded.weights[name]) for name, tensor in alone.weights.items())


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ({"precision": "auto"}, {"layout": "channels_last", "precision": "bfloat16"}),
        ({"layout": "auto"}, {"layout": "contiguous", "precision": "float32"}),
        ({"precision": "auto", "layout": "auto"}, {"layout": "contiguous", "precision": "bfloat16"}),
    ],
    ids=["precision", "layout", "both"],
)
def test_a_trial_is_of_what_was_asked_for_and_recorded(go, busy, method, chosen):
    outcome = go(FINE_TUNE | method)
    assert [note.data for note in trials(outcome)] == [chosen]
    assert outcome.document["transfer"]["pace"] == chosen


@pytest.mark.parametrize(
    "method",
    [
        FINE_TUNE | {"guard": True},
        FINE_TUNE | {"guard": True, "trainable": "last_stages", "augmentation": "none"},
        {"name": "rule_transfer", "epochs": 2, "batch_size": 8},
    ],
    ids=["guard", "guard of a frozen part", "ablation"],
)
def test_what_is_compared_is_computed_alike(go, busy, monkeypatch, method):
    used = []
    cast = precision.cast
    monkeypatch.setattr(precision, "cast", lambda how, *rest: used.append(how) or cast(how, *rest))
    outcome = go(method | {"precision": "auto"})
    assert len(used) > 1
    assert len(set(used)) == 1
    assert len(trials(outcome)) <= 1
