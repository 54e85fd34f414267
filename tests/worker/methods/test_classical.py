"""The classical methods on real digits, against scikit-learn itself; and what else a grafted network is good for."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import DatasetSpec, SourceSpec
from app.imaging.packed import PackedWriter
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.methods.task import Domain, Source
from worker.networks import build, load
from worker.networks.structure import Structure
from worker.runtime import seeds
from worker.runtime.contract import Failure, Note

SEED = 3
ESTIMATORS: dict[str, Any] = {
    "svm": ({"C": 3.0, "gamma": 0.01}, lambda: OneVsRestClassifier(SVC(C=3.0, gamma=0.01))),
    "svm_linear": ({"kernel": "linear", "C": 0.01}, lambda: LinearSVC(C=0.01, random_state=0, max_iter=10_000)),
    "logistic_regression": ({"C": 0.5}, lambda: LogisticRegression(C=0.5, max_iter=2000)),
    "ridge": ({"alpha": 30.0}, lambda: RidgeClassifier(alpha=30.0)),
    "knn": ({"k": 5}, lambda: KNeighborsClassifier(5)),
    "knn_distance": ({"k": 7, "weights": "distance"}, lambda: KNeighborsClassifier(7, weights="distance")),
    "knn_cosine": ({"k": 3, "metric": "cosine"}, lambda: KNeighborsClassifier(3, metric="cosine")),
    "random_forest": (
        {"trees": 40, "max_depth": 9, "min_leaf": 2},
        lambda: RandomForestClassifier(
            40, max_depth=9, min_samples_leaf=2, random_state=seeds.derive(SEED, "classical") % 2**32
        ),
    ),
}
NAMES = {"svm_linear": "svm", "knn_distance": "knn", "knn_cosine": "knn"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """600 to learn from, 200 to validate on, 400 to test on."""
    return packed(tmp_path_factory.mktemp("digits"), {"train": 600, "validation": 200, "test": 400})


def packed(folder, counts, classes=10):
    folder.mkdir(exist_ok=True)
    found = load_digits()
    rows = np.flatnonzero(found.target < classes)[: sum(counts.values())]
    label_N = found.target[rows].astype(np.int64)
    split_N = np.repeat(np.arange(3, dtype=np.uint8), [counts[name] for name in ("train", "validation", "test")])
    pixels, index = folder / "pixels", folder / "index.npz"
    with PackedWriter(pixels) as writer:
        writer.extend(np.round(found.images[rows] * (255 / 16)).astype(np.uint8)[..., None])
        writer.finish(index, np.arange(len(rows)), label_N, split_N)
    document = {
        "classes": [str(k) for k in range(classes)],
        "image": {"height": 8, "width": 8, "channels": 1},
        "mean": [0.3],
        "std": [0.37],
    }
    return tasks.Data(document, pixels, index)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return tasks.source(tmp_path_factory.mktemp("source"))


def splits(data, source):
    """Features of the source's backbone, and labels, by split: computed here, without the methods."""
    domain = Domain.open(DatasetSpec.load(data.document), data.pixels, data.index)
    made = Source.of(SourceSpec.load(source[0]), source[1])
    network, structure, _ = load.make(made.network, made.input, load_file(made.weights))
    found = {}
    for split in ("train", "validation", "test"):
        images = domain.examples(domain.labelled(split), made.input, domain.classes)
        x_BCHW = (images.pixels_NHWC.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        with torch.no_grad():
            features_ND = structure.extract(network.eval(), x_BCHW)
        found[split] = features_ND.double().numpy(), images.label_N.numpy(), images.pixels_NHWC.numpy()
    return found


def standardised(found):
    mean_D, std_D = found["train"][0].mean(0), found["train"][0].std(0)
    std_D[std_D == 0] = 1
    return {split: (features_ND - mean_D) / std_D for split, (features_ND, _, _) in found.items()}


def served(outcome, pixels_NHWC):
    session = onnxruntime.InferenceSession(outcome.result.artifacts["graph"].read_bytes())
    return session.run(["probabilities"], {"image": pixels_NHWC})[0]


def run(method, source, data, folder, **changes):
    changes = {"seed": SEED} | changes
    seed = changes.pop("seed")
    return tasks.run(Setting(method, source, data, seed=seed), folder, **changes)


@pytest.mark.parametrize("variant", ESTIMATORS)
def test_the_graph_says_what_scikit_learn_says(tmp_path, digits, origin, variant):
    params, estimator = ESTIMATORS[variant]
    outcome = run({"name": NAMES.get(variant, variant), **params}, origin, digits, tmp_path / "run")
    found = splits(digits, origin)
    z = standardised(found)
    fitted = estimator().fit(z["train"], found["train"][1])
    served_NK = served(outcome, found["test"][2])
    assert (served_NK.argmax(1) == fitted.predict(z["test"])).mean() > 0.995
    if hasattr(fitted, "predict_proba"):
        wanted_NK = fitted.predict_proba(z["test"])
    else:
        scores_NK = fitted.decision_function(z["test"]) / outcome.document["transfer"]["temperature"]
        wanted_NK = torch.from_numpy(scores_NK).softmax(1).numpy()
    if variant == "random_forest":  # one last bit of one feature may turn one tree of forty
        assert np.quantile(np.abs(served_NK - wanted_NK).max(1), 0.99) < 1e-4
    else:
        np.testing.assert_allclose(served_NK, wanted_NK, atol=3e-4 if variant == "svm" else 1e-4)
    accuracy = outcome.document["evaluation"]["target"]["accuracy"]
    assert accuracy == pytest.approx((served_NK.argmax(1) == found["test"][1]).mean())
    assert accuracy > 0.75


@pytest.mark.parametrize("variant", ["svm", "svm_linear", "ridge"])
def test_the_temperature_makes_the_validation_labels_likely(tmp_path, digits, origin, variant):
    """Its probabilities agree with the decisions, and a temperature twice or half as high would do worse."""
    params, estimator = ESTIMATORS[variant]
    outcome = run({"name": NAMES.get(variant, variant), **params}, origin, digits, tmp_path / "run")
    temperature = outcome.document["transfer"]["temperature"]
    found = splits(digits, origin)
    z, label_N = standardised(found), torch.from_numpy(found["validation"][1])
    scores_NK = torch.from_numpy(estimator().fit(z["train"], found["train"][1]).decision_function(z["validation"]))
    nll = [
        float(torch.nn.functional.cross_entropy(scores_NK / (temperature * factor), label_N)) for factor in (0.5, 1, 2)
    ]
    assert nll[1] < min(nll[0], nll[2])


def test_what_is_left_open_is_chosen_on_the_validation_split(tmp_path, digits, origin):
    outcome = run({"name": "knn"}, origin, digits, tmp_path / "run")
    found = splits(digits, origin)
    z = standardised(found)
    accuracy = {
        k: KNeighborsClassifier(k).fit(z["train"], found["train"][1]).score(z["validation"], found["validation"][1])
        for k in (25, 15, 9, 5, 3, 1)
    }
    assert outcome.document["method"]["k"] == max(accuracy, key=accuracy.get)
    [note] = [note for note in outcome.recorder.of(Note) if note.type == "chosen"]
    assert f"{max(accuracy.values()):.3f}" in note.message


@pytest.mark.parametrize("name", ["svm", "ridge", "logistic_regression", "knn", "random_forest"])
def test_without_a_validation_split_folds_of_the_training_images_choose(tmp_path, origin, name):
    data = packed(tmp_path / "data", {"train": 200, "validation": 0, "test": 300})
    outcome = run({"name": name, "labels_per_class": 10}, origin, data, tmp_path / "run")
    document = outcome.document
    assert "100 training labels and 0 validation" in document["evaluation"]["labels_used"]
    assert document["evaluation"]["target"]["accuracy"] > 0.6
    assert all(value is not None for key, value in document["method"].items() if key in ("C", "alpha", "k"))


@pytest.mark.parametrize("name", ["svm", "ridge", "logistic_regression", "knn", "random_forest"])
def test_one_image_a_class_is_enough(tmp_path, origin, name):
    """Without validation nothing can be chosen: the defaults hold."""
    data = packed(tmp_path / "data", {"train": 200, "validation": 0, "test": 300})
    outcome = run({"name": name, "labels_per_class": 1}, origin, data, tmp_path / "run")
    assert outcome.document["evaluation"]["target"]["accuracy"] > 0.25


@pytest.mark.parametrize("name", ["svm", "ridge", "logistic_regression", "knn", "random_forest"])
def test_a_class_without_training_images_is_never_predicted(tmp_path, origin, name):
    data = packed(tmp_path / "data", {"train": 100, "validation": 50, "test": 200}, classes=4)
    with np.load(data.index) as arrays:
        index = dict(arrays)
    index["split"] = np.where((index["label"] == 2) & (index["split"] == 0), np.uint8(2), index["split"])
    np.savez(data.index, **index)
    outcome = run({"name": name}, origin, data, tmp_path / "run")
    figures = outcome.document["evaluation"]["target"]
    assert [sum(column) for column in zip(*figures["confusion"], strict=True)][2] == 0
    assert figures["per_class"][2] == 0
    assert min(figures["per_class"][k] for k in (0, 1, 3)) > 0.5


def test_one_class_alone_is_refused(tmp_path, origin):
    data = packed(tmp_path / "data", {"train": 20, "validation": 0, "test": 20}, classes=1)
    with pytest.raises(Failure, match="does_not_fit"):
        run({"name": "ridge"}, origin, data, tmp_path / "run")


def test_more_neighbours_than_images_are_refused(tmp_path, origin):
    data = packed(tmp_path / "data", {"train": 20, "validation": 0, "test": 20})
    with pytest.raises(Failure, match="21 neighbours"):
        run({"name": "knn", "k": 21}, origin, data, tmp_path / "run")


# what else can be done with such a model


def promoted(outcome):
    """The model as the source of another job, the way `POST /v1/checkpoints` makes one of it."""
    document = {key: outcome.document[key] for key in ("network", "input", "classes", "recipe")}
    return document, outcome.weights_file


@pytest.fixture(scope="module", params=["svm", "random_forest"])
def grafted(request, tmp_path_factory, digits, origin):
    return run({"name": request.param}, origin, digits, tmp_path_factory.mktemp("graft"))


def test_a_grafted_model_is_evaluated_as_it_was_made(tmp_path, digits, grafted):
    again = run({"name": "evaluate"}, promoted(grafted), digits, tmp_path / "run")
    assert again.document["evaluation"]["target"] == grafted.document["evaluation"]["target"]


def test_its_structure_is_the_backbones_under_the_new_head(grafted, origin):
    document = grafted.document
    input = InputSpec.model_validate(document["input"])
    network, structure, report = load.make(NetworkSpec.model_validate(document["network"]), input, grafted.weights)
    below = Structure.of(network.backbone, input)
    assert (structure.heads, structure.features, structure.separable) == (("head",), below.features, True)
    assert structure.stages == tuple(tuple(f"backbone.{path}" for path in stage) for stage in below.stages)
    assert not report.initialised
    x_BCHW = torch.randn(3, 1, 8, 8)
    network.eval()
    with torch.no_grad():
        logits_BK, features_BD = structure.forward(network, x_BCHW)
        assert torch.equal(network.head(features_BD), logits_BK)
        assert (
            torch.allclose(logits_BK.exp().sum(1), torch.ones(3))
            or document["network"]["options"]["head"]["kind"] == "rbf"
        )


@pytest.mark.parametrize("method", ["linear_probe", "structure_transfer", "feature_transfer"])
def test_training_goes_on_from_its_backbone_with_a_new_head(tmp_path, digits, origin, grafted, method):
    epochs = {"epochs": 1, "labels_per_class": 2}
    outcome = run({"name": method, **epochs}, promoted(grafted), digits, tmp_path / "grafted")
    plain = run({"name": method, **epochs}, origin, digits, tmp_path / "plain")
    document = outcome.document
    assert document["network"] == plain.document["network"]
    assert outcome.weights.keys() == plain.weights.keys()
    if method == "linear_probe":
        before = load_file(origin[1])
        assert all(torch.equal(outcome.weights[name], before[name]) for name in before if not name.startswith("head."))
        assert document["transfer"]["head"] == "new"


def test_terms_stay_near_its_backbone(tmp_path, digits, grafted):
    terms = [{"name": "l2_sp", "head": 0}, {"name": "delta"}, {"name": "distillation"}]
    method = {"name": "fine_tune", "epochs": 1, "labels_per_class": 2, "frozen_epochs": 0, "terms": terms}
    recorder = run(method, promoted(grafted), digits, tmp_path / "run").recorder
    assert recorder.series("l2_sp", "train")[0] == 0
    assert recorder.series("l2_sp", "train")[-1] > 0
    assert recorder.series("delta", "train")
    assert recorder.series("distillation", "train")


def test_what_the_graft_forgot_is_measured(tmp_path, digits, origin):
    """A backbone that is not touched forgets nothing; the adapted head is judged where the classes are the same."""
    source = ({**origin[0], "classes": [f"other {k}" for k in range(10)]}, origin[1])
    elsewhere = tasks.dataset(tmp_path / "source", 10, prefix="other ")
    case = replace(Setting({"name": "svm"}, source, digits), source_dataset=elsewhere)
    on_source = tasks.run(case, tmp_path / "a").document["evaluation"]["source"]
    assert on_source["head"] == "source"
    assert on_source["accuracy"] == on_source["before"]["accuracy"]
    same = replace(Setting({"name": "svm"}, origin, digits), source_dataset=digits)
    document = tasks.run(same, tmp_path / "b").document["evaluation"]
    assert document["source"]["head"] == "adapted"
    assert document["source"]["accuracy"] == document["target"]["accuracy"]


def test_tuning_a_grafted_source_is_measured_on_its_own_head(tmp_path, digits, grafted):
    other = tasks.dataset(tmp_path / "other", 3, prefix="other ")
    method = {"name": "fine_tune", "epochs": 1}
    case = replace(Setting(method, promoted(grafted), other), source_dataset=digits)
    figures = tasks.run(case, tmp_path / "run").document["evaluation"]["source"]
    assert figures["head"] == "source"
    assert figures["before"]["accuracy"] == grafted.document["evaluation"]["target"]["accuracy"]


def test_nobody_trains_a_fitted_head(tmp_path, digits, grafted):
    method = {"name": "train", "network": grafted.document["network"], "input": tasks.INPUT}
    with pytest.raises(Failure, match="not trained by gradients"):
        run(method, None, digits, tmp_path / "run")


@pytest.mark.parametrize("name", ["leaf_M", "root_T", "child_M2", "feature_M"])
def test_an_index_that_leads_nowhere_is_refused(tmp_path, digits, origin, name):
    outcome = run({"name": "random_forest", "trees": 3}, origin, digits, tmp_path / "run")
    document = outcome.document
    tensors = outcome.weights
    tensors[f"head.{name}"] = tensors[f"head.{name}"].clone().fill_(10**6)
    with pytest.raises(Failure, match="weights_do_not_fit"):
        load.make(NetworkSpec.model_validate(document["network"]), InputSpec.model_validate(document["input"]), tensors)


def test_a_head_that_is_no_linear_layer_is_grafted_upon(tmp_path):
    """A convolution: the features are the means of the maps that it sees."""
    spec = NetworkSpec(name="torchvision/squeezenet1_1", num_classes=10)
    input = InputSpec(size=(32, 32), channels=1, mean=(0.5,), std=(0.25,))
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    tasks.save_file(build.build(spec, input).state_dict(), weights)
    source = {"network": spec.model_dump(), "input": input.model_dump(), "classes": None, "recipe": None}
    data = packed(tmp_path / "data", {"train": 40, "validation": 20, "test": 20})
    result = run({"name": "ridge"}, (source, weights), data, tmp_path / "run").result
    document = result.document
    assert document["network"]["name"] == "grafted"
    assert document["network"]["options"]["head"] == {"kind": "linear"}
    assert document["not_servable"] is None
