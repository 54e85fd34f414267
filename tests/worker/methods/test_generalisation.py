"""Learning from several environments: what the target is kept out of, classes by name, and what is reported."""

import numpy as np
import pytest
from pydantic import ValidationError

from app.contract.networks import NetworkSpec
from app.methods.generalisation.irm import Irm
from app.methods.registry import parse
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from tests.worker.methods.test_pretraining import relabelled
from worker.runtime.contract import Failure

COMMON = {"epochs": 2, "batch_size": 8}
NEW = {"network": tasks.network(10), "input": tasks.INPUT}
ERM = {"name": "erm", "environments": ["ds_here", "ds_there"], **NEW, **COMMON}


@pytest.fixture
def places(tmp_path):
    return {id_: tasks.dataset(tmp_path / id_, 10, seed=i) for i, id_ in enumerate(("ds_here", "ds_there"), 5)}


def run(folder, method, target, environments, source=None):
    return tasks.run(Setting(method, source, target, environments=environments), folder)


def renamed(data, names):
    """The same images under other class names."""
    return tasks.Data(data.document | {"classes": names}, data.pixels, data.index)


def test_the_target_is_not_learned_from(tmp_path, places):
    target = tasks.dataset(tmp_path / "target", 10)
    other = tasks.dataset(tmp_path / "other", 10, seed=77)
    first, second = (run(tmp_path / name, ERM, data, places) for name, data in (("a", target), ("b", other)))
    assert first.sha256 == second.sha256
    used = first.document["evaluation"]["labels_used"]
    assert used.startswith("80 training and 40 validation labels of other datasets; none of the target's")


def test_unless_it_is_among_the_environments(tmp_path, places):
    target = places["ds_here"]
    document = run(tmp_path / "run", ERM, target, places).document
    used = document["evaluation"]["labels_used"]
    assert used.startswith("40 training and 20 validation labels of other datasets; 40 training labels and 20")


def test_a_target_without_labels_is_not_measured(tmp_path, places):
    labelled = tasks.dataset(tmp_path / "target", 10)
    target = relabelled(tmp_path / "none", labelled, np.full(80, -1), labelled=False, classes=None)
    assert run(tmp_path / "run", ERM, target, places).document["evaluation"] is None


def test_classes_are_those_that_all_share_by_name(tmp_path, places):
    places["ds_there"] = renamed(places["ds_there"], [str(k) for k in range(9, 4, -1)] + list("vwxyz"))
    target = tasks.dataset(tmp_path / "target", 10)
    document = run(tmp_path / "run", ERM, target, places).document
    assert document["classes"] == ["5", "6", "7", "8", "9"]
    assert document["network"]["num_classes"] == 5
    assert document["evaluation"]["target"]["n"] == 10
    assert document["transfer"]["classes_left_out"] == ["0", "1", "2", "3", "4", *"vwxyz"]
    counts = {"train": 20, "validation": 10}
    assert document["transfer"]["environments"] == {"ds_here": counts, "ds_there": counts}


def test_environments_without_common_classes_are_refused(tmp_path, places):
    target = tasks.dataset(tmp_path / "target", 10)
    apart = places | {"ds_there": renamed(places["ds_there"], ["9", *"abcdefghi"])}
    with pytest.raises(Failure, match="fewer than two classes"):
        run(tmp_path / "run", ERM, target, apart)
    with pytest.raises(Failure, match="share no class name"):
        run(tmp_path / "other", ERM, renamed(target, list("abcdefghij")), places)


def test_each_environment_is_left_out_in_turn(tmp_path, places):
    places["ds_yonder"] = tasks.dataset(tmp_path / "yonder", 10, seed=8)
    method = ERM | {"environments": list(places), "leave_one_out": True}
    target = tasks.dataset(tmp_path / "target", 10)
    outcome = run(tmp_path / "run", method, target, places)
    plain = run(tmp_path / "plain", method | {"leave_one_out": False}, target, places)
    assert outcome.sha256 == plain.sha256
    assert [line["environment"] for line in outcome.document["transfer"]["leave_one_out"]] == list(places)
    assert all(line["n"] == 20 for line in outcome.document["transfer"]["leave_one_out"])
    assert outcome.recorder.series("without_ds_here/ds_there/loss", "train")
    assert not outcome.recorder.series("without_ds_here/ds_here/loss", "train")


def test_what_validates_is_not_learned_from(tmp_path, places):
    target = tasks.dataset(tmp_path / "target", 10)
    places["ds_yonder"] = tasks.dataset(tmp_path / "yonder", 10, seed=8)
    method = ERM | {"validation": "ds_yonder", "selection": "worst"}
    outcome = run(tmp_path / "run", method, target, places)
    found = outcome.recorder.series("accuracy", "validation")
    assert found == outcome.recorder.series("ds_yonder/accuracy", "validation")
    assert not outcome.recorder.series("ds_yonder/loss", "train")
    used = outcome.document["evaluation"]["labels_used"]
    assert used.startswith("80 training and 20 validation labels of other datasets")


def test_a_source_that_knows_the_classes_is_measured_unchanged(tmp_path, places):
    method = {"name": "erm", "environments": ["ds_here", "ds_there"], **COMMON}
    target = tasks.dataset(tmp_path / "target", 10)
    outcome = run(tmp_path / "run", method, target, places, tasks.source(tmp_path / "source"))
    assert outcome.document["transfer"]["head"] == "kept"
    [line] = outcome.document["evaluation"]["guard"]["against"]
    assert line["name"] == "unchanged"


def test_styles_need_feature_maps(tmp_path, places):
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": 8}, {"type": "Linear", "out_features": 10}]
    flat = NetworkSpec(name="layers", num_classes=10, options={"layers": layers}).model_dump()
    with pytest.raises(Failure, match="feature maps"):
        run(tmp_path / "run", ERM | {"name": "mixstyle", "network": flat}, places["ds_here"], places)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"environments": ["ds_here"]}, "at least 2"),
        ({"environments": ["ds_here", "ds_here"]}, "twice"),
        ({"validation": "ds_here"}, "anyway"),
        ({"leave_one_out": True}, "three"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        parse(ERM | wrong)


def test_the_penalty_sets_in_at_step_500_or_in_the_middle():
    method = Irm.model_validate(ERM | {"name": "irm"})
    assert [method.turn(steps) for steps in (300, 1000, 5000)] == [150, 500, 500]
    assert Irm.model_validate(ERM | {"name": "irm", "penalty_from": 40}).turn(300) == 40
