"""Learning from images alone: sealed labels, what comes after, and what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from app.contract.inputs import InputSpec
from app.imaging.packed import PackedImages, PackedWriter
from app.methods.registry import parse
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Data, Setting
from worker.methods.self_supervised import family as pretraining
from worker.runtime.contract import Failure, Note

COMMON = {"epochs": 2, "batch_size": 8}
NEW = {"network": tasks.network(10), "input": tasks.INPUT}
INPUT_4 = InputSpec.model_validate(tasks.INPUT | {"size": [4, 4]})
SIMCLR = {"name": "simclr", "hidden": 16, "dimensions": 8, **NEW, **COMMON}
ROTATION = {"name": "rotation", **NEW, **COMMON}


def relabelled(folder, data, label_N, **document):
    """The same images with other labels."""
    packed = PackedImages.open(data.pixels, data.index)
    folder.mkdir()
    index = folder / "index.npz"
    with PackedWriter(folder / "pixels") as writer:
        writer.extend(np.stack([packed[row] for row in range(len(packed.label))]))
        writer.finish(index, np.arange(len(packed.label)), label_N, packed.split)
    return Data(data.document | document, folder / "pixels", index)


def resolved(method, count, size) -> Any:
    """The parameters of any of these methods, with nothing left open."""
    params: Any = parse(method)
    return params.resolve(count, size)


def run(folder, method, target, source=None):
    return tasks.run(Setting(method, source, target), folder)


JITTERED = ["random_resized_crop", "colour_jitter", "greyscale"]
VIEWS = {
    "simclr": (JITTERED, JITTERED),
    "vicreg": (JITTERED, [*JITTERED, "solarise"]),
    "byol": (JITTERED, [*JITTERED, "solarise"]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_the_default_views_are_those_that_the_document_names(tmp_path, name):
    data = tasks.dataset(tmp_path / "target", 10)
    method = SIMCLR | {"name": name, "epochs": 1}
    default = run(tmp_path / "default", method, data)
    resolved = default.document["method"]
    steps = {field: resolved[field] for field in ("augmentation", "second_augmentation")}
    assert tuple([step["name"] for step in view] for view in steps.values()) == VIEWS[name]
    assert default.trace == run(tmp_path / "named", method | steps, data).trace


def test_the_views_are_of_two_distributions():
    """One inverted throughout, the other as it is; and a list for the first is the second's too, unless it has one."""
    inverted = {"name": "solarise", "p": 1.0, "threshold": 0}
    x_BCHW = torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4)

    def views(**given):
        params = resolved({"name": "simclr", "augmentation": [inverted], **given}, 100, (4, 4))
        ground = SimpleNamespace(params=params, start=SimpleNamespace(learner=SimpleNamespace(input=INPUT_4)))
        return pretraining.two(ground)(x_BCHW, torch.Generator()).chunk(2)

    one, other = views(second_augmentation=[])
    assert torch.equal(one, 255 - x_BCHW)
    assert torch.equal(other, x_BCHW)
    one, other = views()
    assert torch.equal(one, other)


def test_defaults_scale_with_the_images():
    """Blur as strong for the image as at the papers' 224 pixels, and none where that is nothing."""
    for name, shares in {"simclr": (0.5, 0.5), "byol": (1.0, 0.1), "vicreg": (1.0, 0.1)}.items():
        params = resolved({"name": name}, 1000, (112, 112))
        views = params.augmentation, params.second_augmentation
        blurs = [step for view in views for step in view if step.name == "gaussian_blur"]
        assert [(step.p, step.sigma) for step in blurs] == [(share, (0.1, 1.0)) for share in shares]
        assert all(step.p == 0.8 for view in views for step in view if step.name == "colour_jitter")
        small = resolved({"name": name}, 1000, (32, 32))
        assert "gaussian_blur" not in {step.name for step in (*small.augmentation, *small.second_augmentation)}


@pytest.mark.parametrize("method", [SIMCLR, ROTATION], ids=["simclr", "rotation"])
def test_labels_decide_nothing(tmp_path, method):
    data = tasks.dataset(tmp_path / "target", 10)
    none = relabelled(tmp_path / "none", data, np.full(80, -1), labelled=False, classes=None)
    wrong = relabelled(tmp_path / "wrong", data, np.random.default_rng(0).integers(0, 10, 80))
    outcomes = [run(tmp_path / f"run{i}", method, target) for i, target in enumerate((data, none, wrong))]
    assert len({outcome.sha256 for outcome in outcomes}) == 1
    labelled, unlabelled, _ = (outcome.document["transfer"]["features"] for outcome in outcomes)
    assert unlabelled == {
        "knn": None,
        "labels_used": "none of the target's; its test labels were read once, at the end",
    }
    assert (labelled["knn"]["n"], labelled["knn"]["known"], labelled["knn"]["neighbours"]) == (20, 40, 20)
    assert "neither for learning nor for selection" in labelled["labels_used"]


@pytest.mark.parametrize("transfer", ["linear_probe", "fine_tune"])
def test_any_transfer_can_start_from_it(tmp_path, transfer):
    data = tasks.dataset(tmp_path / "target", 10)
    before = run(tmp_path / "pre", SIMCLR, data)
    document = {name: before.document[name] for name in ("network", "input", "classes", "recipe")}
    source = (document, before.weights_file)
    after = run(tmp_path / "post", {"name": transfer, **COMMON}, data, source)
    assert after.document["classes"] == data.document["classes"]
    assert after.document["transfer"]["head"] == "new"
    assert after.weights["head.weight"].shape == (10, 32)
    same = [torch.equal(after.weights[name], before.weights[name]) for name in before.weights if "head" not in name]
    assert all(same) == (transfer == "linear_probe")


def test_a_checkpoint_is_where_it_goes_on_from(tmp_path):
    method = {name: value for name, value in SIMCLR.items() if name not in NEW} | {"learning_rate": 1e-12}
    outcome = run(tmp_path / "run", method, tasks.dataset(tmp_path / "target", 10), tasks.source(tmp_path / "source"))
    before = load_file(tmp_path / "source" / "source.safetensors")
    torch.testing.assert_close(outcome.weights["block.0.weight"], before["block.0.weight"])
    assert outcome.document["transfer"]["drift"]["layers"]


def test_images_without_an_upright_are_told(tmp_path):
    """Each image is equal to its own quarter turns."""
    quarter_NHW = np.random.default_rng(0).integers(0, 256, (80, 4, 4))
    symmetric_NHW = np.zeros((80, 8, 8), np.uint8)
    for turns in range(4):
        part_NHW = np.zeros_like(symmetric_NHW)
        part_NHW[:, :4, :4] = quarter_NHW
        symmetric_NHW += np.rot90(part_NHW, turns, axes=(1, 2))
    data = tasks.dataset(tmp_path / "target", 10)
    with PackedWriter(tmp_path / "pixels") as writer:
        writer.extend(symmetric_NHW[..., None])
        writer.finish(tmp_path / "index.npz", np.arange(80), np.full(80, -1), np.zeros(80, np.uint8))
    outcome = run(tmp_path / "run", ROTATION, replace(data, pixels=tmp_path / "pixels", index=tmp_path / "index.npz"))
    [note] = [note for note in outcome.recorder.of(Note) if note.type == "no_upright"]
    assert note.level == "warning"
    assert outcome.document["transfer"]["rotation_accuracy"] < 0.4


def test_turns_that_are_told_are_not_warned_of(tmp_path):
    method = ROTATION | {"epochs": 40, "learning_rate": 0.01, "augmentation": "none"}
    outcome = run(tmp_path / "run", method, tasks.dataset(tmp_path / "target", 10))
    assert outcome.document["transfer"]["rotation_accuracy"] > 0.6
    assert not [note for note in outcome.recorder.of(Note) if note.type == "no_upright"]


def test_oblong_images_have_no_quarter_turns(tmp_path):
    method = ROTATION | {"input": tasks.INPUT | {"size": [8, 6]}}
    with pytest.raises(ValidationError, match="as high as it is wide"):
        parse(method)
    document, weights = tasks.source(tmp_path / "source")
    oblong = (json.loads(json.dumps(document)), weights)
    oblong[0]["input"] = tasks.INPUT | {"size": [8, 9]}
    with pytest.raises(Failure, match="square"):
        run(tmp_path / "run", {"name": "rotation", **COMMON}, tasks.dataset(tmp_path / "target", 10), oblong)


def test_too_few_images_are_refused(tmp_path):
    data = tasks.dataset(tmp_path / "target", 1, per_class=8, splits=(0, 0, 0, 1, 1, 2, 2, 2))
    with pytest.raises(Failure, match="3 images"):
        run(tmp_path / "run", SIMCLR, data)


@pytest.mark.parametrize("wrong", [{"augmentation": "none"}, {"augmentation": []}, {"label_smoothing": 0.1}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        parse(SIMCLR | wrong)
    with pytest.raises(ValidationError, match="a checkpoint brings its own"):
        parse({"name": "simclr", "input": tasks.INPUT})


def test_runs_on_defaults_are_long_enough():
    closed = resolved({"name": "simclr"}, 1000, (8, 8))
    assert closed.epochs * -(-1000 // closed.batch_size) >= 1000
    assert [step.name for step in closed.augmentation] == JITTERED
