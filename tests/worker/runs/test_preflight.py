"""The rehearsal of a job, as a worker's child makes it: everything that is done once, and a few of the steps."""

import pytest

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runs import preflight, run_job
from worker.runtime import rehearsal
from worker.runtime.contract import Interrupted, Metric, Progress, Snapshot
from worker.runtime.recorder import Recorder
from worker.runtime.rehearsal import Rehearsal

CLASSES = 3


@pytest.fixture
def setting(tmp_path):
    def of(**method):
        data = tasks.dataset(tmp_path / "data", CLASSES, per_class=32)
        return Setting(method, tasks.source(tmp_path / "source", CLASSES), data)

    return of


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        ({"name": "fine_tune", "epochs": 50, "batch_size": 2}, 50 * 24),
        ({"name": "fine_tune", "epochs": 9, "batch_size": 4, "frozen_epochs": 4, "augmentation": "none"}, 9 * 12),
        ({"name": "lp_ft", "epochs": 20, "batch_size": 4, "probe": {"epochs": 30}}, 50 * 12),
        ({"name": "shot", "epochs": 20, "batch_size": 4}, 20 * 12),
        ({"name": "linear_probe", "epochs": 40, "batch_size": 4, "calibrate": True}, 40 * 12),
        ({"name": "fine_tune", "epochs": 20, "batch_size": 4, "swad": {}}, 20 * 12),
    ],
)
def test_a_few_steps_are_made_and_all_are_counted(setting, tmp_path, monkeypatch, method, steps):
    monkeypatch.setattr(rehearsal, "MOST_STEPS", 2)
    told, made = Recorder(), Rehearsal()
    spec = setting(**method).spec(tmp_path / "work")
    run_job.learn(spec, told, made)
    assert max(progress.total_steps for progress in told.of(Progress)) == steps
    assert 2 <= len(made.step_s) < steps / 4
    assert made.seconds > sum(made.step_s)


def test_what_is_left_out_counts():
    made = Rehearsal()
    assert list(made.some(range(3))) == [0, 1, 2]
    assert made.seconds < 60
    made.leave_out(100.0)
    assert 100 < made.seconds < 160
    assert len(list(made.some(range(10**9)))) <= 1 + rehearsal.MOST_STEPS


def test_features_of_the_first_images_stand_for_all(setting, tmp_path, monkeypatch):
    for module in ("worker.data.feature_cache", "worker.training.evaluate"):
        monkeypatch.setattr(f"{module}.IMAGES", 10)
    spec = setting(name="linear_probe", epochs=2).spec(tmp_path / "work")
    with tasks.counted() as seen:
        run_job.learn(spec, Recorder(), Rehearsal())
    with tasks.counted() as whole:
        run_job.learn(setting(name="linear_probe", epochs=2).spec(tmp_path / "whole"), Recorder())
    assert seen[0] < whole[0]


@pytest.mark.parametrize("name", ["evaluate", "adabn", "svm"])
def test_methods_without_steps_have_a_cost(setting, tmp_path, name):
    told = Recorder()
    outcome = preflight.run(setting(name=name).spec(tmp_path / "work"), told).outcome
    assert (outcome.fits, outcome.device) == (True, "cpu")
    assert outcome.seconds > 0
    assert outcome.memory_bytes >= 0
    assert outcome.input.size == (tasks.SIDE, tasks.SIDE)
    assert not told.of(Metric)  # it is not the job
    assert not told.of(Snapshot)


def test_an_order_to_stop_is_obeyed(setting, tmp_path):
    spec = setting(name="fine_tune", epochs=50).spec(tmp_path / "work")
    with pytest.raises(Interrupted):
        preflight.run(spec, Recorder(lambda recorder: "shutdown"))


def test_where_memory_runs_out_smaller_batches_are_tried(setting, tmp_path, monkeypatch):
    learn = run_job.learn

    def cramped(spec, *rest):
        if spec.payload.method.batch_size > 8:
            raise MemoryError
        return learn(spec, *rest)

    monkeypatch.setattr(run_job, "learn", cramped)
    told = Recorder()
    spec = setting(name="fine_tune", epochs=5, batch_size=32).spec(tmp_path / "work")
    outcome = preflight.run(spec, told).outcome
    assert (outcome.fits, outcome.batch_size) == (False, 8)
    assert outcome.seconds > 0
    assert {event.type for event in told.events} == {"batch_too_large"}
