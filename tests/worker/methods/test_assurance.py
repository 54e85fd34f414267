"""Drift, calibration and guard: what is said of a transfer beside its accuracy."""

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from app.imaging.packed import PackedImages
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runs import calibration, drift
from worker.runtime.contract import Failure, Metric, Note, Progress

COMMON = {"epochs": 8, "batch_size": 8}


def adapt(folder, method, **options):
    target = tasks.dataset(folder / "target", 10, **options)
    case = Setting(method | COMMON, tasks.source(folder / "source"), target)
    return tasks.run(case, folder / "run")


def layers(outcome):
    return {line["layer"]: line for line in outcome.document["transfer"]["drift"]["layers"]}


def test_what_is_frozen_has_not_drifted(tmp_path):
    found = layers(adapt(tmp_path, {"name": "fine_tune", "trainable": "last_stages"}))
    assert found["features.0"] == pytest.approx({"layer": "features.0", "relative_l2": 0, "cka": 1})
    assert found["block.0"]["relative_l2"] > 0
    assert 0 < found["block.0"]["cka"] < 1
    assert list(found) == ["features.0", "features.1", "block.0", "block.1", "head"]


def test_drift_of_weights_against_numpy(tmp_path):
    outcome = adapt(tmp_path, {"name": "fine_tune"})
    before, after = load_file(tmp_path / "source" / "source.safetensors"), outcome.weights
    names = ("features.0.weight", "features.0.bias")
    moved, norm = (
        np.concatenate([tensors.ravel() for tensors in parts])
        for parts in ([after[n] - before[n] for n in names], [before[n] for n in names])
    )
    expected = np.linalg.norm(moved) / np.linalg.norm(norm)
    assert layers(outcome)["features.0"]["relative_l2"] == pytest.approx(expected, rel=1e-5)


def test_a_new_head_and_a_network_from_scratch_have_no_drift(tmp_path):
    case = Setting({"name": "fine_tune", **COMMON}, tasks.source(tmp_path), tasks.dataset(tmp_path / "t", 12))
    assert layers(tasks.run(case, tmp_path / "run"))["head"] == {"layer": "head", "relative_l2": None, "cka": None}
    train = {"name": "train", "network": tasks.network(12), "input": tasks.INPUT, **COMMON}
    scratch = tasks.run(Setting(train, None, case.target), tmp_path / "scratch")
    assert scratch.document["transfer"]["drift"] is None


def test_drift_follows_what_was_renamed(tmp_path):
    method = {"name": "feature_transfer", "network": tasks.network(10), "mapping": {"features": "features"}}
    found = layers(adapt(tmp_path, method))
    assert found["features.0"]["cka"] == pytest.approx(1)
    assert found["block.0"]["cka"] is None


def test_linear_cka_against_its_definition():
    generator = torch.Generator().manual_seed(0)
    x_ND, y_NE = (torch.randn(40, d, generator=generator, dtype=torch.float64) for d in (7, 5))
    x_ND, y_NE = x_ND - x_ND.mean(0), y_NE - y_NE.mean(0)
    expected = (y_NE.T @ x_ND).norm() ** 2 / ((x_ND.T @ x_ND).norm() * (y_NE.T @ y_NE).norm())
    assert drift.linear_cka(x_ND + 3, y_NE) == pytest.approx(float(expected))
    rotation = torch.linalg.qr(torch.randn(7, 7, generator=generator, dtype=torch.float64))[0]
    assert drift.linear_cka(x_ND, 2 * x_ND @ rotation) == pytest.approx(1)
    assert drift.linear_cka(torch.ones(40, 3), y_NE) is None


def test_temperature_is_that_by_which_scores_were_multiplied():
    generator = torch.Generator().manual_seed(1)
    logits_NK = torch.randn(20_000, 5, generator=generator)
    label_N = torch.multinomial(logits_NK.softmax(1), 1, generator=generator)[:, 0]
    assert calibration.temperature(logits_NK * 2.5, label_N) == pytest.approx(2.5, rel=0.05)
    assert calibration.temperature(logits_NK, label_N) == pytest.approx(1, rel=0.05)


def test_temperature_is_a_least_loss_by_another_search():
    generator = torch.Generator().manual_seed(2)
    logits_NK = torch.randn(300, 4, generator=generator, dtype=torch.float64) * 3
    label_N = torch.multinomial((logits_NK / 2).softmax(1), 1, generator=generator)[:, 0]
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([scale], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        search.zero_grad()
        value = nn.functional.cross_entropy(logits_NK * scale, label_N)
        value.backward()
        return value

    search.step(loss)
    assert calibration.temperature(logits_NK, label_N) == pytest.approx(1 / float(scale.detach()), rel=1e-3)


def test_calibration_changes_confidence_and_no_decision(tmp_path):
    """The temperature is in the weights and in the graph."""
    plain = adapt(tmp_path / "plain", {"name": "fine_tune"})
    calibrated = adapt(tmp_path / "calibrated", {"name": "fine_tune", "calibrate": True})
    before, after = (run.document["evaluation"]["target"] for run in (plain, calibrated))
    told = after["calibration"]
    assert told["before"] == pytest.approx({"nll": before["nll"], "ece": before["ece"]}, abs=1e-5)
    assert after["accuracy"] == before["accuracy"]
    assert after["nll"] != before["nll"]
    heads = [run.weights["head.weight"] for run in (plain, calibrated)]
    torch.testing.assert_close(heads[0] / told["temperature"], heads[1])
    target = tasks.dataset(tmp_path / "again", 10)
    packed = PackedImages.open(target.pixels, target.index)
    images = np.stack([packed[row] for row in packed.rows("test")])
    log_odds = []
    for run in (plain, calibrated):
        graph = onnxruntime.InferenceSession(run.result.artifacts["graph"].read_bytes())
        [probabilities_NK] = graph.run(["probabilities"], {"image": images})
        log_odds.append(np.log(probabilities_NK[:, :1]) - np.log(probabilities_NK))
    np.testing.assert_allclose(log_odds[0] / told["temperature"], log_odds[1], atol=1e-3)


def test_calibration_needs_validation_images(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10, splits=(0, 0, 0, 0, 0, 0, 2, 2))
    case = Setting({"name": "fine_tune", "calibrate": True, **COMMON}, tasks.source(tmp_path), target)
    with pytest.raises(Failure, match="validation"):
        tasks.run(case, tmp_path / "run")


def test_calibration_reaches_an_adapter(tmp_path):
    plain, calibrated = (
        adapt(tmp_path / str(calibrate), {"name": "lora", "calibrate": calibrate}) for calibrate in (False, True)
    )
    told = calibrated.document["evaluation"]["target"]["calibration"]
    before, after = (load_file(run.adapter_file) for run in (plain, calibrated))
    for name, tensor in before.items():
        by = told["temperature"] if ".head." in name else 1.0
        torch.testing.assert_close(tensor / by, after[name])


def guarded(folder, method, **source):
    target = tasks.dataset(folder / "target", 10, per_class=64)
    made = tasks.source(folder / "source", **source)
    return tasks.run(Setting(method | COMMON | {"guard": True}, made, target), folder / "run")


def test_guard_compares_with_scratch_probe_and_source(tmp_path):
    outcome = guarded(tmp_path, {"name": "fine_tune", "optimizer": "adamw", "backbone_factor": 1.0})
    evaluation = outcome.document["evaluation"]
    guard = evaluation["guard"]
    assert [line["name"] for line in guard["against"]] == ["unchanged", "linear_probe", "scratch"]
    for line in guard["against"]:
        assert line["difference"] == pytest.approx(evaluation["target"]["accuracy"] - line["accuracy"])
        assert line["interval"][0] <= line["difference"] <= line["interval"][1]
    assert guard["against"][0]["interval"][0] > 0  # the source was drawn at random
    assert outcome.recorder.series("guard/scratch/loss", "train")
    told = outcome.recorder.of(Progress)
    assert told[-1].step == told[-1].total_steps == told[0].total_steps


def test_a_transfer_that_harms_is_flagged(tmp_path):
    """Hardly any learning: from scratch the same steps come much further."""
    outcome = guarded(tmp_path, {"name": "fine_tune", "learning_rate": 1e-6})
    guard = outcome.document["evaluation"]["guard"]
    assert guard["helped"] is False
    assert "scratch" in guard["regressions"]
    assert "HARMED" in guard["verdict"]
    [note] = [note for note in outcome.recorder.of(Note) if note.type == "regression"]
    assert (note.level, note.message) == ("warning", guard["verdict"])


def test_a_guard_spends_as_many_steps_as_both_halves_of_lp_ft(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    method = {"name": "lp_ft", "probe": {"epochs": 3}, "epochs": 2, "batch_size": 8, "guard": True}
    recorder = tasks.run(Setting(method, tasks.source(tmp_path / "source"), target), tmp_path / "run").recorder
    last = {
        name: max(point.step for point in recorder.of(Metric) if (point.name, point.split) == (name, "train"))
        for name in ("probe/loss", "loss", "guard/linear_probe/loss", "guard/scratch/loss")
    }
    assert (last["probe/loss"], last["loss"]) == (15, 10)
    assert last["guard/linear_probe/loss"] == last["guard/scratch/loss"] == 25
    told = recorder.of(Progress)[-1]
    assert told.step == told.total_steps == 3 * 25


def test_a_guard_says_why_something_was_left_out(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10, prefix="other ")
    case = Setting({"name": "linear_probe", "guard": True, **COMMON}, tasks.source(tmp_path), target)
    guard = tasks.run(case, tmp_path / "run").document["evaluation"]["guard"]
    assert [line["name"] for line in guard["against"]] == ["unchanged", "scratch"]
    assert "does not know" in guard["against"][0]["reason"]


def test_nothing_of_a_guard_reaches_the_model(tmp_path):
    plain, assured = (adapt(tmp_path / str(guard), {"name": "fine_tune", "guard": guard}) for guard in (False, True))
    assert plain.sha256 == assured.sha256
