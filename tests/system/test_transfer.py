"""The main job: a model trained on one real domain, adapted to another, over HTTP, on both databases."""

import hashlib
import io
import json
from xml.etree import ElementTree

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load
from torch import nn

from regraft import Conflict
from tests import digits

TRAIN = {"name": "train", "network": digits.TINY, "epochs": 6, "learning_rate": 0.005, "batch_size": 32}


def upload(client, path, **options):
    file = client.files.upload(path)
    return client.datasets.wait(client.datasets.create(name=path.stem, file=file.id, **options).id, timeout_s=60)


@pytest.fixture(scope="module")
def mnist(service, tmp_path_factory):
    return upload(service.client, digits.mnist_idx(tmp_path_factory.mktemp("d") / "mnist.zip", 60))


@pytest.fixture(scope="module")
def optdigits(service, tmp_path_factory):
    return upload(service.client, digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 50))


def finished(client, **options):
    job = client.jobs.create(**options)
    return client.jobs.wait(job.id, timeout_s=120)


@pytest.fixture(scope="module")
def source_job(service, mnist):
    return finished(service.client, method=TRAIN, dataset=mnist.id, name="source", metadata={"made": "by a test"})


@pytest.fixture(scope="module")
def source(service, source_job):
    created = service.client.checkpoints.create(name="digits", model=source_job.model)
    return service.client.checkpoints.wait(created.id, timeout_s=30)


@pytest.fixture(scope="module")
def adapted(service, source, optdigits):
    method = {
        "name": "fine_tune",
        "labels_per_class": 10,
        "input": {"fit": "pad", "margin": 4},
        "guard": True,
        "calibrate": True,
    }
    return finished(service.client, method=method, dataset=optdigits.id, checkpoint=source.id)


def test_datasets_are_what_the_archives_hold(mnist, optdigits):
    assert (mnist.format, mnist.image) == ("idx", {"height": 28, "width": 28, "channels": 1})
    assert sum(mnist.splits.values()) == 600
    assert (optdigits.format, optdigits.image) == ("folder", {"height": 8, "width": 8, "channels": 1})
    assert optdigits.classes == [str(digit) for digit in range(10)]
    assert optdigits.refused == []


def test_training_learns_and_reports(service, source_job):
    """600 real digits: far better than chance on images that it never saw."""
    target = source_job.evaluation.target
    assert target.split == "test"
    assert target.n == 120
    assert target.accuracy > 0.6
    low, high = target.accuracy_interval
    assert low < target.accuracy < high
    assert sum(map(sum, target.confusion)) == 120
    assert source_job.progress.fraction == 1
    metrics = service.client.jobs.metrics(source_job.id)
    losses = [point.value for point in metrics if (point.name, point.split) == ("loss", "train")]
    assert losses[-1] < losses[0]
    assert [point.epoch for point in metrics if (point.name, point.split) == ("accuracy", "validation")] == list(
        range(1, 7)
    )
    assert source_job.method["epochs"] == 6
    assert source_job.method["augmentation"] == [{"name": "random_crop", "padding": 3}]  # resolved and echoed


def test_a_promoted_model_is_the_same_weights(service, source_job, source):
    model = service.client.models.get(source_job.model)
    assert source.sha256 == model.sha256
    assert source.classes == model.classes
    assert source.input == model.input


def test_transfer_beats_scratch(service, source, optdigits, adapted):
    scratch_method = TRAIN | {"labels_per_class": 10, "epochs": None, "batch_size": None}
    scratch_method = {name: value for name, value in scratch_method.items() if value is not None}
    scratch = finished(service.client, method=scratch_method, dataset=optdigits.id)
    unchanged = finished(service.client, method="evaluate", dataset=optdigits.id, checkpoint=source.id)
    probe_method = {"name": "linear_probe", "labels_per_class": 10, "input": {"fit": "pad", "margin": 4}}
    probe = finished(service.client, method=probe_method, dataset=optdigits.id, checkpoint=source.id)
    accuracy = {job.method["name"]: job.evaluation.target.accuracy for job in (adapted, scratch, unchanged, probe)}
    assert accuracy["fine_tune"] > accuracy["evaluate"]
    assert accuracy["fine_tune"] > 0.7
    assert unchanged.model is None
    assert "100 training labels" in adapted.evaluation.labels_used
    assert "none" in unchanged.evaluation.labels_used


def test_forgetting_is_measured_on_the_source(adapted, source_job):
    """The source's dataset is known, since the checkpoint was promoted from a model."""
    source = adapted.evaluation.source
    assert source.before["accuracy"] == pytest.approx(source_job.evaluation.target.accuracy)
    assert source.n == source_job.evaluation.target.n


def test_lineage_names_what_went_in(service, adapted, source, optdigits):
    assert adapted.lineage["checkpoint_sha256"] == source.sha256
    assert adapted.lineage["dataset_sha256"] == optdigits.sha256


def test_the_transfer_report_says_where_every_tensor_comes_from(service, adapted):
    transfer = service.client.models.get(adapted.model).transfer
    assert transfer["head"] == "kept"
    assert "features.0.weight" in transfer["tensors"]["copied"]
    assert any("8×8 → 28×28" in adapter for adapter in transfer["adapters"])


@pytest.fixture(scope="module")
def weights(service, adapted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return service.client.models.download(adapted.model, folder)


def test_weights_load_under_the_networks_own_names(service, adapted, weights):
    """A plain torch.nn module of the same layers takes them strictly."""
    features = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
    )
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("flatten", nn.Flatten())
    network.add_module("classifier", nn.Sequential(nn.Dropout(0.1), nn.Linear(256, 10)))
    network.load_state_dict(load(weights.read_bytes()), strict=True)
    with safe_open(weights, "pt") as file:
        assert file.metadata()


def test_the_graph_the_weights_and_the_service_agree(service, adapted, weights, tmp_path):
    graph = service.client.models.download(adapted.model, tmp_path, format="onnx")
    session = onnxruntime.InferenceSession(graph.read_bytes())
    [taken] = session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("image", "tensor(uint8)", [28, 28, 1])
    assert [given.name for given in session.get_outputs()] == ["probabilities", "features", "energy"]

    array = np.array(Image.open(io.BytesIO(digits.one_png(3))))
    square = np.array(Image.fromarray(array).resize((20, 20), Image.Resampling.BILINEAR))
    pixels = np.pad(square, 4)[None, :, :, None]  # the contract: padded, with a margin of 4
    [probabilities] = session.run(["probabilities"], {"image": pixels})
    found = service.client.models.predict(adapted.model, digits.one_png(3), top_k=10)[0]
    assert {top.label: top.probability for top in found.top} == pytest.approx(
        dict(zip([str(i) for i in range(10)], probabilities[0].tolist(), strict=True)), abs=1e-5
    )


def test_predictions_in_every_form_are_the_same(service, adapted):
    images = [digits.one_png(i) for i in range(12)]
    together = service.client.models.predict(adapted.model, images, top_k=3)
    alone = [service.client.models.predict(adapted.model, image, top_k=3)[0] for image in images]
    assert [one.label for one in together] == [one.label for one in alone]
    assert [one.index for one in together] == list(range(12))
    assert [one.probability for one in together] == pytest.approx([one.probability for one in alone], abs=1e-5)


def test_a_checkpoint_predicts_as_well(service, source):
    assert len(service.client.checkpoints.predict(source.id, digits.one_png(0), top_k=2)[0].top) == 2


def test_embeddings_are_the_features_under_the_head(service, adapted, weights):
    [features] = service.client.models.embeddings(adapted.model, [digits.one_png(3)])
    tensors = load(weights.read_bytes())
    logits = tensors["classifier.1.weight"] @ torch.tensor(features) + tensors["classifier.1.bias"]
    probabilities = logits.softmax(0)
    found = service.client.models.predict(adapted.model, digits.one_png(3))[0]
    assert found.probability == pytest.approx(float(probabilities.max()), abs=1e-4)


def test_the_guard_has_spent_the_same_labels_otherwise(adapted):
    guard = adapted.evaluation.guard
    assert [other.name for other in guard.against] == ["unchanged", "linear_probe", "scratch"]
    scratch = guard.against[2]
    assert adapted.evaluation.target.accuracy - scratch.accuracy == pytest.approx(scratch.difference)
    low, high = scratch.interval
    assert guard.helped is (True if low > 0 else False if high < 0 else None)
    assert adapted.evaluation.target.calibration["temperature"] > 0


def test_the_report_is_a_page_of_its_own(service, adapted):
    page = service.client.models.report(adapted.model)
    assert f"{adapted.evaluation.target.accuracy * 100:.1f} %" in page
    assert adapted.evaluation.guard.verdict.split(":")[0] in page
    assert all(layer in page for layer in ("features.0", "Accuracy on the validation split", "<polyline"))
    assert "http" not in page.replace("http-equiv", "")
    html = ElementTree.fromstring(page.partition("<body>")[2].partition("</body>")[0].join(("<body>", "</body>")))
    assert len(html.findall(".//svg")) >= 4


def test_the_card_tells_the_story(service, adapted):
    card = service.client.http.get(f"/v1/models/{adapted.model}/card").text
    assert adapted.model in card
    assert f"{adapted.evaluation.target.accuracy:.3f}" in card


def test_the_sources_rule_with_and_without(service, source, optdigits):
    """Both networks were measured on the same images, and the model is the one under the rule."""
    method = {"name": "rule_transfer", "labels_per_class": 10, "epochs": 8}
    job = finished(service.client, method=method, dataset=optdigits.id, checkpoint=source.id)
    ablation = job.evaluation.ablation
    assert ablation.with_.accuracy == job.evaluation.target.accuracy
    assert ablation.difference == pytest.approx(ablation.with_.accuracy - ablation.without.accuracy)
    low, high = ablation.interval
    assert ablation.helped is (True if low > 0 else False if high < 0 else None)
    assert (ablation.with_.input.size, ablation.without.input.size) == ((28, 28), (8, 8))
    assert job.progress.fraction == 1
    assert job.evaluation.source is None  # the weights are new: there was nothing to forget
    recipe, followed = service.client.checkpoints.recipe(source.id), service.client.models.recipe(job.model)
    for part in ("input", "augmentation", "label_smoothing", "mixing"):
        assert followed[part] == recipe[part]
    assert {point.name for point in service.client.jobs.metrics(job.id)} >= {"loss", "without/loss"}


def test_what_is_needed_cannot_be_deleted(service, adapted, optdigits):
    with pytest.raises(Conflict) as refused:
        service.client.datasets.delete(optdigits.id)
    assert refused.value.code == "has_dependents"
    assert adapted.id in json.dumps(refused.value.errors)


def test_the_same_job_gives_the_same_bytes(service, source, optdigits, adapted):
    again = finished(
        service.client,
        method=adapted.method,
        dataset=optdigits.id,
        checkpoint=source.id,
    )
    digests = {service.client.models.get(model).sha256 for model in (adapted.model, again.model)}
    assert len(digests) == 1
    downloads = {
        hashlib.sha256(service.client.http.get(f"/v1/models/{model}/weights").content).hexdigest()
        for model in (adapted.model, again.model)
    }
    assert len(downloads) == 1


@pytest.fixture(scope="module")
def fitted(service, source, optdigits):
    method = {"name": "svm", "labels_per_class": 10, "input": {"fit": "pad", "margin": 4}}
    return finished(service.client, method=method, dataset=optdigits.id, checkpoint=source.id)


def test_a_classical_model_is_a_model_like_any_other(service, fitted, tmp_path):
    """Backbone and machine in one graph, and as tensors; predicted by the service."""
    assert fitted.evaluation.target.accuracy > 0.7
    assert fitted.method["C"]
    assert fitted.method["gamma"]
    graph = service.client.models.download(fitted.model, tmp_path, format="onnx")
    array = np.array(Image.open(io.BytesIO(digits.one_png(5))))
    pixels = np.pad(np.array(Image.fromarray(array).resize((20, 20), Image.Resampling.BILINEAR)), 4)[None, :, :, None]
    [probabilities] = onnxruntime.InferenceSession(graph.read_bytes()).run(["probabilities"], {"image": pixels})
    found = service.client.models.predict(fitted.model, digits.one_png(5), top_k=10)[0]
    assert {top.label: top.probability for top in found.top} == pytest.approx(
        dict(zip([str(i) for i in range(10)], probabilities[0].tolist(), strict=True)), abs=1e-5
    )
    tensors = load(service.client.models.download(fitted.model, tmp_path).read_bytes())
    assert tensors["head.vector_SD"].shape[1] == tensors["head.mean_D"].shape[0] == 256
    assert tensors["head.weight_KS"].shape == (10, len(tensors["head.vector_SD"]))


def test_a_checkpoint_of_a_classical_model_does_all_that_checkpoints_do(service, fitted, optdigits, tmp_path):
    created = service.client.checkpoints.create(name="machine", model=fitted.model)
    checkpoint = service.client.checkpoints.wait(created.id, timeout_s=30)
    again = finished(service.client, method="evaluate", dataset=optdigits.id, checkpoint=checkpoint.id)
    assert again.evaluation.target.accuracy == fitted.evaluation.target.accuracy
    [one], [other] = (
        service.client.checkpoints.predict(checkpoint.id, digits.one_png(5)),
        service.client.models.predict(fitted.model, digits.one_png(5)),
    )
    assert (one.label, one.probability) == (other.label, other.probability)
    tuned = finished(
        service.client, method={"name": "fine_tune", "epochs": 1}, dataset=optdigits.id, checkpoint=checkpoint.id
    )
    assert service.client.models.get(tuned.model).transfer["head"] == "new"


def test_features_are_kept_for_the_next(service, source, optdigits, fitted):
    """The probe and the machine above saw the same images through the same backbone: one entry a split."""
    kept = list((service.home / "cache" / "features").iterdir())
    method = {"name": "ridge", "labels_per_class": 10, "input": {"fit": "pad", "margin": 4}}
    finished(service.client, method=method, dataset=optdigits.id, checkpoint=source.id)
    assert list((service.home / "cache" / "features").iterdir()) == kept


def test_a_dataset_of_fewer_classes_is_measured_by_the_decision_that_is_served(service, source, tmp_path):
    """Over all ten classes, as predictions are; the decision among the dataset's four is told beside it."""
    four = upload(service.client, digits.optdigits_folders(tmp_path / "four.zip", 50, classes=4))
    job = finished(service.client, checkpoint=source.id, dataset=four.id, method={"name": "evaluate"})
    found = json.loads(job.model_dump_json())["evaluation"]["target"]
    assert found["classes"] == ["0", "1", "2", "3"]
    assert found["taken_for_other_classes"] > 0
    assert sum(map(sum, found["confusion"])) == found["n"] - found["taken_for_other_classes"]
    right = sum(found["confusion"][k][k] for k in range(4))
    assert found["accuracy"] == pytest.approx(right / found["n"])
    assert found["accuracy"] <= found["among_shared"]["accuracy"] <= 1
