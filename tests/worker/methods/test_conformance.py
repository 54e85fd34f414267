"""What every method promises, whatever it does: one test each, over all methods of the registry."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.imaging.packed import PackedImages
from app.methods import discovery
from app.methods.base import Method
from app.methods.classical.family import OnFeatures
from app.methods.cross_domain.family import Selecting
from app.methods.fusion.distil_ensemble import DistilEnsemble
from app.methods.fusion.family import Fusing
from app.methods.registry import METHODS as PARAMS
from app.methods.registry import parse
from app.methods.self_supervised.mae import Mae
from app.methods.source_free.family import SourceFree
from app.methods.supervised.adaptformer import AdaptFormer
from app.methods.supervised.vpt import Vpt
from app.methods.training import Loop
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Outcome, Setting
from worker.methods.registry import METHODS
from worker.networks import build
from worker.runtime.contract import Interrupted, Metric, Progress, Snapshot

GOLDEN = Path(__file__).parent / "golden"
ROUGH = {  # golden traces where processors' own ways of rounding show
    "fine_tune_bfloat16": 0.02,  # of eight bits
    "byol": 1e-3,  # batch norm in both heads makes them more: 2.7e-4 was seen within 20 steps
}
FOR_TRANSFORMERS = (AdaptFormer, Vpt, Mae)  # and for nothing else
COMMON = {"epochs": 4, "batch_size": 8}
VIEWS = {"hidden": 16, "dimensions": 8}


def small(method: type[Method], example: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an example, for a training of seconds."""
    sizes = (COMMON if issubclass(method, Loop) else {}) | (VIEWS if method.headless else {})
    given = {name: value for name, value in sizes.items() if name in method.model_fields} | dict(example)
    ours = {"network": tasks.network(10), "input": tasks.INPUT}
    if issubclass(method, FOR_TRANSFORMERS):
        ours = {"network": tasks.transformer(10), "input": tasks.TRANSFORMED}
    return {"name": discovery.name(method)} | given | {name: ours[name] for name in ours if name in given}


VARIANTS = {
    f"{name}_{suffix}" if suffix else name: small(method, example)
    for name, method in PARAMS.items()
    for suffix, example in method.examples.items()
}


def of(*kinds: type) -> list[str]:
    """Variants of the methods of these kinds."""
    return [variant for variant, method in VARIANTS.items() if issubclass(PARAMS[method["name"]], kinds)]


ADAPTING = [variant for variant, method in VARIANTS.items() if PARAMS[method["name"]].info.gives_model]
TRAINING = of(Loop)
FITTED = of(OnFeatures)  # no epochs
OF_TRANSFORMERS = of(*FOR_TRANSFORMERS)
# Weights are calculated, in no epochs: how many candidates are judged on the validation split.
MERGED = dict.fromkeys(of(Fusing), 0) | {"soup": 5, "wise_ft": 4, "task_arithmetic_chosen": 11}
PASSING = [v for v in ADAPTING if v not in {*TRAINING, *FITTED, *MERGED}]  # over the images once, without a loss
# Points of the accuracy on the validation split; else one an epoch.
POINTS = MERGED | {"distil_ensemble": 0} | dict.fromkeys(FITTED, 1) | dict.fromkeys(PASSING, 0)
OF_ITS_SOURCES = of(Fusing, DistilEnsemble)  # whose classes they have
DRAWING = [*TRAINING, "random_forest"]  # the others have nothing to draw where all labels may be seen
MOMENTS = {variant: [0, 1, 2] if variant not in TRAINING else [0, 1, 5, 9] for variant in ADAPTING}
HEADLESS = {variant for variant, method in VARIANTS.items() if PARAMS[method["name"]].headless}
CLASSIFYING = [variant for variant in ADAPTING if variant not in HEADLESS]
MONITORED = dict.fromkeys(of(Selecting, SourceFree), "entropy")
OWN_HEADS = set(of(SourceFree))
# Making a graph takes far longer than all else; so `make test` makes that of one variant for each kind of network.
EXPORTED = {
    "train",
    "train_multi_label",
    "fine_tune_assured",
    "lora",
    "adaptformer",
    "vpt",
    "feature_transfer",
    "structure_transfer",
    "linear_probe",
    "svm",
    "knn",
    "knn_cosine",
    "random_forest",
    "ridge",
    "simclr",
    "shot",
}
FROZEN = {
    "fine_tune_head": ("features.", "block."),
    "fine_tune_last": ("features.",),
    "feature_transfer": ("features.0.", "features.1."),
    "linear_probe": ("features.", "block."),
    "linear_probe_augmented": ("features.", "block."),
} | dict.fromkeys(FITTED, ("features.", "block."))


def setting(folder, variant: str, classes: int = 10, prefix: str = "") -> Setting:
    method = VARIANTS[variant]
    network = tasks.transformer if variant in OF_TRANSFORMERS else tasks.network
    if "network" in method:
        method = method | {"network": network(classes)}
    params = parse(method)
    needs = params.info.needs if "network" in method else (*params.info.needs, *params.info.takes)
    return Setting(
        method,
        tasks.source(folder / "source", of=network) if "checkpoint" in needs else None,
        tasks.dataset(folder / "target", classes, prefix=prefix, multi_label=variant.endswith("multi_label")),
        tasks.dataset(folder / "source_data", classes, seed=5, prefix=prefix) if "source_data" in needs else None,
        teachers={id_: tasks.source(folder / id_, seed=i) for i, id_ in enumerate(params.networks().values(), 11)},
        environments={
            id_: tasks.dataset(folder / id_, classes, seed=i, prefix=prefix)
            for i, id_ in enumerate(params.datasets().values(), 21)
        },
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A variant's setting and its run from beginning to end, which all tests look at that change nothing about it."""
    runs: dict[str, tuple[Setting, Outcome]] = {}

    def once(variant: str) -> tuple[Setting, Outcome]:
        if variant not in runs:
            folder = tmp_path_factory.mktemp(variant)
            case = setting(folder, variant)
            runs[variant] = case, tasks.run(case, folder / "run")
        return runs[variant]

    return once


def each(variants: Iterable[str]) -> list[Any]:
    """Those of a variant in one process, whose run is made once."""
    return [pytest.param(variant, marks=pytest.mark.xdist_group(variant)) for variant in variants]


def test_every_method_is_here_and_has_a_function():
    assert set(METHODS) == set(PARAMS) == {method["name"] for method in VARIANTS.values()}


@pytest.mark.parametrize("variant", each(VARIANTS))
def test_same_seed_same_bytes(plain, tmp_path, variant):
    first, second = plain(variant)[1], tasks.run(setting(tmp_path, variant), tmp_path / "run")
    assert first.document == second.document
    assert first.weights_file.read_bytes() == second.weights_file.read_bytes()
    assert first.recorder.of(Metric) == second.recorder.of(Metric)


@pytest.mark.parametrize("variant", each(DRAWING))
def test_another_seed_other_bytes(plain, tmp_path, variant):
    one, first = plain(variant)
    other = tasks.run(replace(one, seed=4), tmp_path / "run")
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("variant", each(FROZEN))
def test_what_is_frozen_changes_in_no_bit(plain, variant):
    case, outcome = plain(variant)
    weights, before = outcome.weights, load_file(case.source[1])
    found = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    frozen = [name for name in before if name.startswith(FROZEN[variant])]
    assert any("running_var" in name for name in frozen)
    assert all(torch.equal(found[name], before[name]) for name in frozen)
    assert any(name not in before or not torch.equal(found[name], before[name]) for name in found.keys() - set(frozen))


def at(number, command):
    """Gives `command` at the `number`-th question."""
    asked = iter(range(1_000_000))
    return lambda recorder: command if next(asked) == number else None


@pytest.mark.parametrize("variant", each(VARIANTS))
def test_cancel_is_honoured(tmp_path, variant):
    with pytest.raises(Interrupted) as interrupted:
        tasks.run(setting(tmp_path, variant), tmp_path / "run", at(0, "cancel"))
    assert interrupted.value.command == "cancel"
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("variant", each(ADAPTING))
def test_progress_and_metrics_are_reported(plain, variant):
    recorder = plain(variant)[1].recorder
    told = recorder.of(Progress)
    assert told[0].step == 0
    assert told[-1].step == told[-1].total_steps > 0
    assert bool(recorder.series("loss", "train")) == (variant in TRAINING)
    name = "knn_accuracy" if variant in HEADLESS else MONITORED.get(variant, "accuracy")
    assert len(recorder.series(name, "validation")) == POINTS.get(variant, 4)


@pytest.mark.parametrize(
    ("variant", "moment"),
    [pytest.param(v, moment, marks=pytest.mark.xdist_group(v)) for v in ADAPTING for moment in MOMENTS[v]],
)
def test_a_resumed_run_equals_an_uninterrupted_one(plain, tmp_path, variant, moment):
    case, whole = plain(variant)
    with pytest.raises(Interrupted):
        tasks.run(case, tmp_path / "part", at(moment, "shutdown"))
    [snapshot] = (tmp_path / "part").glob("snapshot-*")
    rest = tasks.run(case, tmp_path / "rest", snapshot=snapshot)
    assert rest.document == whole.document
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())


@pytest.mark.parametrize("variant", each(TRAINING))
def test_periodic_snapshots_lead_to_the_same_end(tmp_path, variant):
    case = setting(tmp_path, variant)
    whole = tasks.run(case, tmp_path / "whole", snapshot_every_s=0.0)
    snapshots = whole.recorder.of(Snapshot)
    assert len(snapshots) > 3
    rest = tasks.run(case, tmp_path / "rest", snapshot=snapshots[len(snapshots) // 2].path)
    assert rest.sha256 == whole.sha256


def images_of(split, data, input):
    """A dataset, the rows of one split, and their pixels at a network's size."""
    packed = PackedImages.open(data.pixels, data.index)
    rows = packed.rows(split)
    return packed, rows, packed.fitted(rows, input)


@pytest.mark.parametrize("variant", each(ADAPTING))
def test_save_load_predict_round_trip(plain, variant):
    """Loaded into a network of the spec that the result names, the weights predict what is exported."""
    case, outcome = plain(variant)
    document = outcome.document
    spec, input = NetworkSpec.model_validate(document["network"]), InputSpec.model_validate(document["input"])
    network = build.build(spec, input)
    network.load_state_dict(load_file(outcome.weights_file), strict=True)
    packed, rows, pixels_NHWC = images_of("test", case.target, input)
    x_BCHW = (torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        logits_NK = network.eval()(x_BCHW)
    probabilities_NK = (logits_NK.softmax(1) if packed.target is None else logits_NK.sigmoid()).numpy()
    served_NK = outcome.served(pixels_NHWC)
    np.testing.assert_allclose(served_NK, probabilities_NK, atol=1e-5)
    assert document["multi_label"] == (packed.target is not None)
    if variant in HEADLESS:
        assert document["classes"] == ["unlabelled"]
        assert document["evaluation"] is None
        return
    if packed.target is None:
        right_N = served_NK.argmax(1) == packed.label[rows]
    else:
        right_N = ((served_NK >= 0.5) == packed.target[rows]).all(1)
    assert document["evaluation"]["target"]["accuracy"] == pytest.approx(float(right_N.mean()))


@pytest.mark.parametrize(
    "variant",
    [
        *each(v for v in ADAPTING if v in EXPORTED),
        *(
            pytest.param(v, marks=[pytest.mark.xdist_group(v), pytest.mark.matrix])
            for v in ADAPTING
            if v not in EXPORTED
        ),
    ],
)
def test_the_exported_graph_gives_the_same(plain, variant):
    case, outcome = plain(variant)
    input = InputSpec.model_validate(outcome.document["input"])
    _, _, pixels_NHWC = images_of("test", case.target, input)
    session = onnxruntime.InferenceSession(outcome.result.artifacts["graph"].read_bytes())
    served_NK, features_ND, _ = session.run(None, {"image": pixels_NHWC})
    np.testing.assert_allclose(served_NK, outcome.served(pixels_NHWC), atol=1e-5)
    assert features_ND.shape == (len(pixels_NHWC), 64 if variant in OF_TRANSFORMERS else 8 * 2 * 2)
    assert outcome.result.document["not_servable"] is None


@pytest.mark.parametrize("variant", each([v for v in CLASSIFYING if v not in OF_ITS_SOURCES and v not in OWN_HEADS]))
def test_ten_classes_to_a_hundred(tmp_path, variant):
    """Trap 14: the head is new, whatever the source's was."""
    case = setting(tmp_path, variant, classes=100, prefix="class ")
    outcome = tasks.run(case, tmp_path / "run")
    document = outcome.document
    assert document["network"]["num_classes"] == len(document["classes"]) == 100
    if document["network"]["name"] != "grafted":
        assert outcome.weights["head.weight"].shape == (100, 64 if variant in OF_TRANSFORMERS else 32)
    assert document["evaluation"]["target"]["n"] == 200
    _, _, pixels_NHWC = images_of("test", case.target, InputSpec.model_validate(document["input"]))
    assert outcome.served(pixels_NHWC).shape == (200, 100)


@pytest.mark.parametrize("variant", each(VARIANTS))
def test_label_use_is_declared(plain, variant):
    document = plain(variant)[1].document
    used = (document["transfer"]["features"] if variant in HEADLESS else document["evaluation"])["labels_used"]
    expected = dict.fromkeys(("evaluate", *MONITORED), "none of the target's") | {
        "fine_tune_last": "20 training labels and 20 validation",
        "quantize": "0 training labels and 20 validation",
        "dann_separate": "0 training labels and 20 validation",
        "distil_ensemble": "none",
        "distil_ensemble_labels": "20 training labels and 20 validation",
    }
    expected |= {name: "0 training labels and 20 validation" if judged else "none" for name, judged in MERGED.items()}
    expected |= {"wise_ft": "0 training labels and 10 validation"}
    expected |= dict.fromkeys(HEADLESS, "none of the target's, neither for learning nor for selection; 60 training and")
    named = VARIANTS[variant].get("environments", [])
    validated = 20 if "validation" in VARIANTS[variant] else 20 * len(named)
    if named:
        others = f"{40 * len(named)} training and {validated} validation labels of other datasets; none of the target's"
        expected[variant] = others
    assert expected.get(variant, "40 training labels and 20 validation labels") in used


@pytest.mark.parametrize("variant", each(ADAPTING))
def test_golden_trace(plain, variant):
    """The losses of a seeded run: to 1e-4 everywhere (bitwise on one machine, see above); `make golden` renews them.

    Where there are no epochs, the one on the validation split, or else on the test split.
    """
    outcome = plain(variant)[1]
    trace = outcome.trace if variant in TRAINING else outcome.recorder.series("loss", "validation")
    if variant in MERGED or variant in PASSING:
        trace = [outcome.document["evaluation"]["target"]["nll"]]
    path = GOLDEN / f"{variant}.json"
    if os.environ.get("REGRAFT_RENEW_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(trace, indent=0))
    tolerance = ROUGH.get(variant, 1e-4)
    assert trace == pytest.approx(json.loads(path.read_text()), rel=tolerance, abs=tolerance)
