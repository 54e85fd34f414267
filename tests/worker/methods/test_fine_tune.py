"""How `fine_tune` begins: its head by a probe where it is new, and as it was where SGD is asked for."""

import pytest

from app.methods.registry import parse
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runtime.contract import Metric

SHORT = {"name": "fine_tune", "epochs": 1, "batch_size": 20}


@pytest.fixture
def go(tmp_path):
    source = tasks.source(tmp_path / "source")

    def go(classes, prefix="", **method):
        target = tasks.dataset(tmp_path / f"data{prefix}", classes, prefix=prefix)
        return tasks.run(Setting(SHORT | method, source, target), tmp_path / f"run{prefix}")

    return go


def probed(outcome):
    return any(point.name.startswith("probe/") for point in outcome.recorder.of(Metric))


def test_a_new_head_starts_from_a_probe_and_one_that_is_kept_does_not(go):
    new, kept = go(10, prefix="other "), go(10)
    assert (new.document["method"]["head_start"], probed(new)) == ("probe", True)
    assert (kept.document["method"]["head_start"], probed(kept)) == ("none", False)
    assert {one.document["method"]["optimizer"] for one in (new, kept)} == {"adamw"}


@pytest.mark.parametrize("said", [{"trainable": "head"}, {"frozen_epochs": 1}, {"head_start": "none"}], ids=str)
def test_no_probe_where_the_head_learns_alone_anyhow(go, said):
    outcome = go(10, prefix="other ", **said)
    assert (outcome.document["method"]["head_start"], probed(outcome)) == ("none", False)


def test_a_probe_that_is_asked_for_is_made_of_a_head_that_is_kept(go):
    assert probed(go(10, head_start="probe"))


BEFORE = {"optimizer": "sgd", "backbone_factor": 0.1, "frozen_epochs": 1, "head_start": "none"}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({}, {"optimizer": "adamw", "backbone_factor": 1.0, "frozen_epochs": 0, "head_start": None}),
        ({"optimizer": "sgd"}, BEFORE),
        ({"learning_rate": 0.05}, BEFORE | {"learning_rate": 0.05}),
        ({"learning_rate": 0.05, "backbone_factor": 1.0}, BEFORE | {"backbone_factor": 1.0}),
        ({"optimizer": "adamw", "learning_rate": 3e-4}, {"optimizer": "adamw", "backbone_factor": 1.0}),
        ({"optimizer": "sgd", "frozen_epochs": 0, "head_start": "probe"}, {"frozen_epochs": 0, "head_start": "probe"}),
    ],
    ids=str,
)
def test_a_rate_without_an_optimiser_is_that_of_sgd_and_all_that_goes_with_it(said, wanted):
    params = parse({"name": "fine_tune"} | said)
    assert {name: getattr(params, name) for name in wanted} == wanted
    assert parse(params.model_dump(mode="json")) == params
