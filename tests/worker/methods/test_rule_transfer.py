"""`rule_transfer`: what is replayed, and an ablation that says what is so: for the rule, against it, or neither."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.imaging.packed import PackedWriter
from tests.worker.methods import tasks
from tests.worker.methods.tasks import RECIPE, Data, Setting
from worker.networks import build
from worker.runtime.contract import Failure, Interrupted

METHOD = {"name": "rule_transfer", "epochs": 4, "batch_size": 8}
FLIPS = {"version": 1, "augmentation": [{"name": "horizontal_flip", "p": 0.5}]}
LINEAR = {
    "name": "layers",
    "num_classes": 10,
    "options": {"layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": 10}]},
}


def source(folder, **changes):
    document, path = tasks.source(folder / "source")
    return document | changes, path


def data(folder, pattern_KHW, test_KHW, train=12, test=20, noise=60, **changes) -> Data:
    """Images of one pattern a class under noise; at the test the patterns are others."""
    folder.mkdir()
    random = np.random.default_rng(0)
    pixels, index = folder / "pixels", folder / "index.npz"
    label_N = np.concatenate([np.repeat(np.arange(len(pattern_KHW)), count) for count in (train, test)])
    split_N = np.repeat([0, 2], [len(pattern_KHW) * train, len(pattern_KHW) * test]).astype(np.uint8)
    clean_NHW = np.where((split_N == 0)[:, None, None], pattern_KHW[label_N], test_KHW[label_N])
    images_NHW = np.clip(clean_NHW + random.integers(-noise, noise, clean_NHW.shape), 0, 255).astype(np.uint8)
    with PackedWriter(pixels) as writer:
        writer.extend(images_NHW[..., None])
        writer.finish(index, np.arange(len(label_N)), label_N, split_N)
    document = tasks.dataset(folder / "plain", len(pattern_KHW)).document
    return Data(document | changes, pixels, index)


def patterns(count, seed=2):
    return np.random.default_rng(seed).integers(0, 256, (count, tasks.SIDE, tasks.SIDE))


def ablation(outcome):
    return (outcome.document["evaluation"] or {}).get("ablation")


def test_the_recipe_of_a_trained_model_replays_to_the_same_parameters(tmp_path):
    """On the same data, from the same seed: the very weights."""
    target = tasks.dataset(tmp_path / "target", 10)
    trained = tasks.run(
        Setting(
            {
                "name": "train",
                "network": tasks.network(10),
                "input": tasks.INPUT | {"fit": "pad", "margin": 1},
                "augmentation": RECIPE["augmentation"],
                "label_smoothing": 0.1,
                "mixing": {"name": "cutmix"},
                "epochs": 3,
                "batch_size": 8,
            },
            None,
            target,
        ),
        tmp_path / "trained",
    )
    made = trained.document
    document = {name: made[name] for name in ("network", "input", "classes", "recipe")}
    replayed = tasks.run(
        Setting(METHOD | {"epochs": 3}, (document, trained.weights_file), target), tmp_path / "replayed"
    )
    assert made["recipe"]["epochs"] == 3
    assert replayed.document["recipe"] == made["recipe"]
    assert replayed.sha256 == trained.sha256
    assert all(torch.equal(tensor, replayed.weights[name]) for name, tensor in trained.weights.items())


def test_a_rule_that_the_target_needs(tmp_path):
    """Tested on mirror images, after training on the others."""
    pattern_KHW = patterns(10)
    target = data(tmp_path / "target", pattern_KHW, pattern_KHW[:, :, ::-1])
    outcome = tasks.run(
        Setting(METHOD | {"epochs": 30, "batch_size": 16}, source(tmp_path, recipe=FLIPS), target), tmp_path / "run"
    )
    found, evaluated = ablation(outcome), outcome.document["evaluation"]["target"]
    assert found["helped"] is True
    assert found["interval"][0] > 0.3
    assert found["difference"] == pytest.approx(found["with"]["accuracy"] - found["without"]["accuracy"])
    assert found["with"]["accuracy"] == evaluated["accuracy"] > 0.9
    assert found["with"]["accuracy_interval"] == evaluated["accuracy_interval"]
    assert outcome.document["transfer"]["rule"]["augmentation"] == FLIPS["augmentation"]


def test_a_rule_that_harms_is_not_hidden(tmp_path):
    """Half the classes are mirror images of the others: who flips cannot tell them apart."""
    half_KHW = patterns(5)
    pattern_KHW = np.concatenate((half_KHW, half_KHW[:, :, ::-1]))
    target = data(tmp_path / "target", pattern_KHW, pattern_KHW)
    outcome = tasks.run(
        Setting(METHOD | {"epochs": 30, "batch_size": 16}, source(tmp_path, recipe=FLIPS), target), tmp_path / "run"
    )
    found = ablation(outcome)
    assert found["helped"] is False
    assert found["interval"][1] < -0.2
    assert found["without"]["accuracy"] > 0.9


def test_a_rule_that_makes_no_difference(tmp_path):
    """Smoothing, where the classes are easily told apart anyway: the interval holds 0, and nothing is claimed."""
    pattern_KHW = patterns(10)
    target = data(tmp_path / "target", pattern_KHW, pattern_KHW)
    smooth = {"version": 1, "label_smoothing": 0.05}
    method = METHOD | {"epochs": 20, "rule": ["label_smoothing"]}
    outcome = tasks.run(Setting(method, source(tmp_path, recipe=smooth), target), tmp_path / "run")
    found = ablation(outcome)
    assert found["helped"] is None
    assert found["interval"][0] <= 0 <= found["interval"][1]
    assert outcome.recorder.series("loss", "train") != outcome.recorder.series("without/loss", "train")


def test_the_two_differ_by_the_rule_alone(tmp_path):
    """A rule that is what the dataset would get anyway: the same weights, batches and dropout, step by step."""
    outcome = tasks.run(
        Setting(METHOD | {"rule": ["input"]}, source(tmp_path), tasks.dataset(tmp_path / "target", 10)),
        tmp_path / "run",
    )
    for name, split in (("loss", "train"), ("accuracy", "validation"), ("loss", "validation")):
        series = outcome.recorder.series(name, split)
        assert series == outcome.recorder.series(f"without/{name}", split)
        assert series
    assert (ablation(outcome)["difference"], ablation(outcome)["helped"]) == (0.0, None)
    assert outcome.document["transfer"]["rule"] == {"version": 1, "input": tasks.INPUT}


def test_without_the_rule_the_images_come_as_they_are(tmp_path):
    """The source saw images of half the size, with a margin; the dataset's own are 8 by 8."""
    input = tasks.INPUT | {"size": [6, 6], "margin": 1, "fit": "pad"}
    recipe = RECIPE | {"input": input}
    target = tasks.dataset(tmp_path / "target", 10)
    outcome = tasks.run(Setting(METHOD, source(tmp_path, recipe=recipe), target), tmp_path / "run")
    document = outcome.document
    assert document["input"] == document["recipe"]["input"] == ablation(outcome)["with"]["input"] == input
    assert ablation(outcome)["without"]["input"] == tasks.INPUT
    assert document["method"]["augmentation"] == document["recipe"]["augmentation"]
    assert document["method"]["label_smoothing"] == 0.1
    assert document["transfer"]["adapters"] == ["8×8 → 6×6", "fit: pad, margin 1"]


def test_what_the_rule_does_not_name_is_as_the_request_says(tmp_path):
    method = METHOD | {"rule": ["mixing"], "label_smoothing": 0.2, "augmentation": [{"name": "vertical_flip"}]}
    target = tasks.dataset(tmp_path / "target", 10)
    recipe = tasks.run(Setting(method, source(tmp_path), target), tmp_path / "run").document["recipe"]
    assert recipe["label_smoothing"] == 0.2
    assert recipe["augmentation"] == [{"name": "vertical_flip", "p": 0.5}]
    assert recipe["mixing"] == {"name": "mixup", "alpha": 0.2, "p": 1.0}


def test_a_partial_recipe_means_none_of_the_rest(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    method = METHOD | {"label_smoothing": 0.2, "mixing": {"name": "cutmix"}}
    recipe = tasks.run(Setting(method, source(tmp_path, recipe=FLIPS), target), tmp_path / "run").document["recipe"]
    assert (recipe["label_smoothing"], recipe["mixing"], recipe["input"]) == (0.0, None, tasks.INPUT)


def test_from_the_sources_weights(tmp_path):
    """Fine-tuned under the rule: both trainings begin with the source's tensors, head and all."""
    target = tasks.dataset(tmp_path / "target", 10)
    method = METHOD | {"weights": True, "learning_rate": 1e-9, "weight_decay": 0.0}
    outcome = tasks.run(Setting(method, source(tmp_path), target), tmp_path / "run")
    before = load_file(source(tmp_path)[1])
    learnt = [name for name in before if name.endswith(("weight", "bias"))]
    assert all(torch.allclose(outcome.weights[name], before[name], atol=1e-6) for name in learnt)
    transfer = outcome.document["transfer"]
    assert transfer["head"] == "kept"
    assert set(transfer["tensors"]["copied"]) == set(before)


def test_another_network(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    outcome = tasks.run(Setting(METHOD | {"network": LINEAR}, source(tmp_path), target), tmp_path / "run")
    network = build.build(NetworkSpec.model_validate(LINEAR), InputSpec.model_validate(tasks.INPUT))
    assert outcome.document["network"]["options"] == LINEAR["options"]
    assert outcome.weights.keys() == network.state_dict().keys()
    assert outcome.document["transfer"]["head"] == "new"


@pytest.mark.parametrize(
    "method",
    [
        METHOD,
        METHOD | {"network": LINEAR},
        {"name": "feature_transfer", "mapping": {"features.0": "a"}, "epochs": 2},
        {"name": "structure_transfer", "weights": False, "epochs": 2},
    ],
)
def test_a_network_that_is_new_has_forgotten_nothing(tmp_path, method):
    """Its accuracy on the source's test split would say something about the architecture at most."""
    if method["name"] == "feature_transfer":
        layers = [{"name": "a", "type": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1}]
        layers += LINEAR["options"]["layers"]
        method = method | {"network": LINEAR | {"options": {"layers": layers}}}
    own = tasks.dataset(tmp_path / "own", 10, seed=5)
    case = Setting(method, source(tmp_path), tasks.dataset(tmp_path / "target", 10), source_dataset=own)
    assert tasks.run(case, tmp_path / "run").document["evaluation"]["source"] is None


def test_with_the_sources_weights_forgetting_is_measured(tmp_path):
    own = tasks.dataset(tmp_path / "own", 10, seed=5)
    target = tasks.dataset(tmp_path / "target", 10)
    case = Setting(METHOD | {"weights": True}, source(tmp_path), target, source_dataset=own)
    assert tasks.run(case, tmp_path / "run").document["evaluation"]["source"]["before"]["accuracy"] >= 0


@pytest.mark.parametrize("why", ["nobody asked", "no test labels"])
def test_without_an_ablation_there_is_one_training(tmp_path, why):
    target = tasks.dataset(tmp_path / "target", 10)
    method = METHOD
    if why == "nobody asked":
        method = METHOD | {"ablation": False}
    else:
        pattern_KHW = patterns(10)
        target = data(tmp_path / "untested", pattern_KHW, pattern_KHW, test=0)
    outcome = tasks.run(Setting(method, source(tmp_path), target), tmp_path / "run")
    assert ablation(outcome) is None
    assert outcome.recorder.series("loss", "train")
    assert not outcome.recorder.series("without/loss", "train")


@pytest.mark.parametrize("moment", [30, 40, 43])
def test_a_run_resumed_within_the_second_training(tmp_path, moment):
    """The first is not trained again, and the comparison comes out the same."""
    case = Setting(METHOD, source(tmp_path), tasks.dataset(tmp_path / "target", 10))
    whole = tasks.run(case, tmp_path / "whole")
    asked = iter(range(10_000))
    with pytest.raises(Interrupted):
        tasks.run(case, tmp_path / "part", lambda recorder: "shutdown" if next(asked) == moment else None)
    [snapshot] = (tmp_path / "part").glob("snapshot-*")
    done = torch.load(snapshot, weights_only=True)["done"]
    assert "train" in done
    rest = tasks.run(case, tmp_path / "rest", snapshot=snapshot)
    assert rest.document == whole.document
    assert not rest.recorder.series("loss", "train")


def test_what_cannot_be_compared_is_said_before_the_first_training(tmp_path):
    """The network takes 8 by 8 under the rule; as they are, the images are too small for it."""
    target = tasks.dataset(tmp_path / "target", 10)
    target = replace(target, document=target.document | {"image": {"height": 2, "width": 2, "channels": 1}})
    asked = []  # before every batch
    with pytest.raises(Failure) as refused:
        tasks.run(Setting(METHOD, source(tmp_path), target), tmp_path / "run", asked.append)
    assert refused.value.code == "does_not_fit"
    assert not asked


def test_a_source_without_a_recipe_is_refused(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    for nothing in (None, {"augmentation": "strong"}):
        with pytest.raises(Failure) as refused:
            tasks.run(Setting(METHOD, source(tmp_path, recipe=nothing), target), tmp_path / "run")
        assert (refused.value.code, "recipe" in refused.value.message) == ("does_not_fit", True)


def test_beside_guard_and_temperature(tmp_path):
    """A temperature moves no class before another: the comparison is what it would be without."""
    target = tasks.dataset(tmp_path / "target", 10)
    plain = tasks.run(Setting(METHOD, source(tmp_path), target), tmp_path / "plain")
    method = METHOD | {"guard": True, "calibrate": True}
    outcome = tasks.run(Setting(method, source(tmp_path), target), tmp_path / "run")
    evaluated = outcome.document["evaluation"]
    assert evaluated["target"]["calibration"]["temperature"] > 0
    assert [other["name"] for other in evaluated["guard"]["against"]] == ["unchanged", "linear_probe", "scratch"]
    assert ablation(outcome) == ablation(plain)
