"""Images with any number of labels, beyond what every method promises: all methods, both ways between the kinds."""

import json
import struct

import numpy as np
import onnxruntime
import pytest
from sklearn import metrics

from app.imaging.packed import PackedImages
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting

TRAINED = {"epochs": 30, "batch_size": 8, "optimizer": "adamw", "learning_rate": 0.02}
METHODS = {
    "fine_tune": {"name": "fine_tune", **TRAINED},
    "linear_probe": {"name": "linear_probe", **TRAINED},
    "linear_probe_balanced": {
        "name": "linear_probe",
        "sampling": "balanced",
        "class_weights": "balanced",
        **TRAINED,
    },
    "lp_ft": {"name": "lp_ft", "probe": {"epochs": 5}, **TRAINED},
    "lora": {"name": "lora", "rank": 2, **TRAINED},
    "ssf": {"name": "ssf", **TRAINED},
    "feature_transfer": {"name": "feature_transfer", "stages": 1, **TRAINED},
    "structure_transfer": {"name": "structure_transfer", **TRAINED},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_several_labels(tmp_path, method):
    """Far better than guessing: the mean average precision of that is the share of positives, some 13 %."""
    target = tasks.dataset(tmp_path / "target", 10, per_class=16, multi_label=True)
    outcome = tasks.run(Setting(METHODS[method], tasks.source(tmp_path / "source"), target), tmp_path / "run")
    document = outcome.document
    found = document["evaluation"]["target"]
    assert found["map"] > 0.5
    assert document["transfer"]["head"] == "new"  # the classes have the same names, but the source's compete
    packed = PackedImages.open(target.pixels, target.index)
    rows = packed.rows("test")
    served_NK = outcome.served(np.stack([packed[row] for row in rows]))
    truth_NK = packed.target[rows]
    expected = [metrics.average_precision_score(truth_NK[:, k], served_NK[:, k]) for k in range(10)]
    assert found["average_precision"] == pytest.approx(expected, abs=1e-6)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth_NK, served_NK >= 0.5, average="macro"))
    assert len(outcome.recorder.series("map", "validation")) > 0


def test_weights_say_of_themselves_what_they_are(tmp_path):
    method = {"name": "fine_tune", "epochs": 1, "batch_size": 8}
    for multi_label in (True, False):
        target = tasks.dataset(tmp_path / f"target{multi_label}", 3, multi_label=multi_label)
        outcome = tasks.run(Setting(method, tasks.source(tmp_path / "s"), target), tmp_path / f"run{multi_label}")
        data = outcome.weights_file.read_bytes()
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
        assert json.loads(header["regraft.multi_label"]) is multi_label


@pytest.mark.parametrize("name", ["fine_tune", "structure_transfer"])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("here", [True, False])
def test_a_head_is_kept_only_between_labels_of_one_kind(tmp_path, name, there, here):
    document, weights = tasks.source(tmp_path / "source")
    source = document | {"multi_label": there}, weights
    target = tasks.dataset(tmp_path / "target", 10, multi_label=here)
    before = tasks.dataset(tmp_path / "before", 10, seed=2, multi_label=there)
    method = {"name": name, "epochs": 1, "batch_size": 8}
    found = tasks.run(Setting(method, source, target, before), tmp_path / "run").document
    assert found["transfer"]["head"] == ("kept" if there == here else "new")
    assert found["evaluation"]["source"]["head"] == ("adapted" if there == here else "source")
    assert ("map" in found["evaluation"]["source"]) == there
    assert ("map" in found["evaluation"]["target"]) == here


def test_evaluation_over_shared_classes(tmp_path):
    """Two of the source's ten classes are in the dataset: these are judged, on every image."""
    document, weights = tasks.source(tmp_path / "source")
    target = tasks.dataset(tmp_path / "target", 3, multi_label=True)
    target.document["classes"] = ["4", "cow", "2"]
    source = document | {"multi_label": True}, weights
    found = tasks.run(Setting({"name": "evaluate"}, source, target), tmp_path / "run").document
    measured = found["evaluation"]["target"]
    assert measured["classes"] == ["2", "4"]
    assert measured["n"] == 6
    assert len(measured["average_precision"]) == 2


def test_images_without_a_label_are_learned_from_and_budgeted(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10, multi_label=True)
    packed = PackedImages.open(target.pixels, target.index)
    rows = packed.rows("train")
    assert (packed.label[rows] < 0).sum() == 10
    for budget, used in (({}, 40), ({"labels_per_class": 1}, 11), ({"train_size": 20}, 20)):
        method = {"name": "linear_probe", "epochs": 1, "batch_size": 8} | budget
        setting = Setting(method, tasks.source(tmp_path / "source"), target)
        outcome = tasks.run(setting, tmp_path / f"run{used}")
        assert f"{used} training labels" in outcome.document["evaluation"]["labels_used"]


def test_a_transfer_of_several_labels_is_guarded_and_calibrated(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10, per_class=16, multi_label=True)
    method = METHODS["fine_tune"] | {"guard": True, "calibrate": True}
    outcome = tasks.run(Setting(method, tasks.source(tmp_path / "source"), target), tmp_path / "run")
    evaluation = outcome.document["evaluation"]
    measured, guard = evaluation["target"], evaluation["guard"]
    assert "does not know" in guard["against"][0]["reason"]  # the source's classes compete
    for line in guard["against"][1:]:
        assert line["difference"] == pytest.approx(measured["accuracy"] - line["accuracy"])
    packed = PackedImages.open(target.pixels, target.index)
    rows = packed.rows("test")
    session = onnxruntime.InferenceSession(outcome.result.artifacts["graph"].read_bytes())
    [served_NK] = session.run(["probabilities"], {"image": np.stack([packed[row] for row in rows])})
    assert measured["nll"] == pytest.approx(metrics.log_loss(packed.target[rows].ravel(), served_NK.ravel()), rel=1e-3)
    odds_NK = served_NK.astype(np.float64) / (1 - served_NK.astype(np.float64))
    before_NK = 1 / (1 + odds_NK ** -measured["calibration"]["temperature"])
    before = metrics.log_loss(packed.target[rows].ravel(), before_NK.ravel())
    assert measured["calibration"]["before"]["nll"] == pytest.approx(before, rel=1e-3)
