"""Whatever a user can ask for is asked for once, over HTTP, to its last artifact, which its own library opens.

On SQLite; `make methods` runs it on Postgres, too.
"""

import io
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
import peft
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load

from app.methods.classical.family import OnFeatures
from app.methods.registry import METHODS, parse
from app.methods.terms.registry import TERMS
from tests import databases, digits, services

ON = os.environ.get("REGRAFT_METHODS_ON", "sqlite").split(",")
NETWORK = {"name": "timm/test_resnet", "num_classes": 10, "options": {}}
INPUT = {"size": [32, 32], "channels": 3, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
BRIEF = {"epochs": 1, "batch_size": 20}
NEW = {"network": NETWORK, "input": INPUT, **BRIEF}
SIZES = {**BRIEF, "hidden": 16, "dimensions": 8}
VIEWS = {**NEW, **SIZES}
# What of an example is left out: this training is too brief for it, or the service is to find it out.
LEFT_OUT = {"vrex": "penalty_from", "reg_mean": "training_sets", "fisher": "training_sets"}
BY_ITSELF = "quantize"  # is asked for by a route of its own
EXAMPLES = {name: method.examples[""] for name, method in METHODS.items() if name != BY_ITSELF}
FROM_NOTHING = {name for name, example in EXAMPLES.items() if "network" in example}
NO_HEADS = [name for name, method in METHODS.items() if method.headless]
NO_MODEL = {name for name, method in METHODS.items() if not method.info.gives_model}
OF_TRANSFORMERS = {"adaptformer", "vpt"}  # alone
NEW_TRANSFORMERS = {"mae"}
TRANSFORMER = {"name": "timm/test_vit", "num_classes": 10, "options": {"img_size": 32}}
OWN_HEADS = {name for name, method in METHODS.items() if issubclass(method, OnFeatures)}  # no layer of timm's
LEARNT = sorted({*EXAMPLES, *TERMS} - NO_MODEL - {*NO_HEADS})


def methods(places: list[str], tuned: list[str]) -> dict[str, dict[str, object]]:
    """Parameters of each method: its first example, brief, of objects that are there."""
    return {name: dict(params(name, places, tuned)) for name in EXAMPLES}


def params(name: str, places: list[str], tuned: list[str]) -> Iterator[tuple[str, object]]:
    """An example may name more objects than there are; the others are left out."""
    example = {**EXAMPLES[name]}
    sizes = {size: value for size, value in SIZES.items() if size in METHODS[name].model_fields}
    method, ids = parse({"name": name, **example}), dict[object, str | None]()
    for named, there in ((method.datasets(), places), (method.networks(), tuned)):
        ids |= dict(zip(dict.fromkeys(named.values()), [*there, *[None] * len(named)], strict=False))
    ours = {param: NEW[param] for param in ("network", "input") if param in example}
    ours |= {"network": TRANSFORMER} if name in NEW_TRANSFORMERS else {}
    for param, value in (sizes | example | ours).items():
        if isinstance(value, list):
            yield param, [ids.get(one, one) if isinstance(one, str) else one for one in value if ids.get(str(one), one)]
        elif param != LEFT_OUT.get(name) and ids.get(str(value), value) is not None:
            yield param, ids.get(str(value), value)


def dataset(client, path, **options):
    file = client.files.upload(path)
    return client.datasets.wait(client.datasets.create(name=path.stem, file=file.id, **options).id, timeout_s=120).id


class Grafts:
    """One job of each method and each term, all queued at once, from one source that the service trained."""

    def __init__(self, client, folder):
        self.client = client
        self.there = dataset(client, digits.mnist_idx(folder / "mnist.zip", 14))
        self.here = dataset(client, digits.optdigits_folders(folder / "optdigits.zip", 14))
        self.no_labels = dataset(client, digits.optdigits_folders(folder / "bare.zip", 14), labelled=False)
        recipe = {"version": 1, "label_smoothing": 0.1}
        source = self.finished(method={"name": "train", **NEW, "epochs": 8}, dataset=self.there).model
        self.weights = client.models.download(source, folder / "source.safetensors")
        file = client.files.upload(self.weights)
        checkpoint = client.checkpoints.create(
            name="source", file=file.id, network=NETWORK, input=INPUT, classes=list("0123456789"), recipe=recipe
        )
        self.source = client.checkpoints.wait(checkpoint.id, timeout_s=120).id
        method = {"name": "train", **NEW, "network": TRANSFORMER, "epochs": 2}
        self.transformer = self.finished(method=method, dataset=self.there).model
        self.tuned = [self.asked({"name": "fine_tune", **BRIEF}, seed=seed).id for seed in (1, 2)]
        self.tuned = [client.jobs.wait(job, timeout_s=120).model for job in self.tuned]
        self.brief = methods([self.there, self.here], self.tuned)
        terms = {name: {"name": "fine_tune", "terms": [{"name": name}], **BRIEF} for name in TERMS}
        wanted = {name: {"name": name, **params} for name, params in self.brief.items()} | terms
        order = dict.fromkeys([*LEARNT, *NO_HEADS, *wanted])  # the tests', so that each waits for its own job alone
        self.jobs = {name: self.asked(wanted[name]) for name in order}

    def asked(self, method, **options):
        source = self.transformer if method["name"] in OF_TRANSFORMERS else self.source
        start = {} if method["name"] in FROM_NOTHING else {"checkpoint": source, "source_dataset": self.there}
        return self.client.jobs.create(method=method, dataset=self.here, **start, **options)

    def finished(self, **options):
        job = self.client.jobs.wait(self.client.jobs.create(**options).id, timeout_s=300)
        assert job.status == "succeeded", job.error
        return job

    def done(self, name):
        job = self.client.jobs.wait(self.jobs[name].id, timeout_s=300)
        assert job.status == "succeeded", job.error
        return job


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.xdist_group("methods")) for kind in ON])
def grafts(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grafts")
    with (
        databases.opened(request.param, tmp_path_factory.mktemp(request.param)) as opened,
        services.running(folder / "home", opened.migrated()) as service,
    ):
        yield Grafts(service.client, folder)


def asked_of_onnx(graph, pixels_HWC):
    session = onnxruntime.InferenceSession(graph)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": pixels_HWC[None]}), strict=True))


def pixels(png, input):
    """Of an image that has the model's size already."""
    mode = "L" if input.channels == 1 else "RGB"
    image = Image.open(io.BytesIO(png)).convert(mode)
    return np.asarray(image, np.uint8).reshape(*image.size[::-1], input.channels)


def sized(client, model):
    """A PNG of the very size that the model sees, so that nobody's resizing matters."""
    height, width = model.input.size
    image = Image.open(io.BytesIO(digits.one_png(3))).resize((width, height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_no_method_is_left_out(grafts):
    elsewhere = {BY_ITSELF, "auto"}  # which is a job of others
    assert {method.name for method in grafts.client.methods.list()} == {*grafts.brief, *elsewhere}


@pytest.mark.parametrize("name", LEARNT)
def test_its_model_is_published_downloaded_opened_and_asked(grafts, tmp_path, name):
    client, job = grafts.client, grafts.done(name)
    model, image = client.models.get(job.model), sized(grafts.client, grafts.client.models.get(job.model))
    [served] = client.models.predict(model.id, image, top_k=10)
    scores = {score.label: score.probability for score in served.top}
    graph = client.models.download(model.id, tmp_path / "model.onnx", format="onnx")
    given = asked_of_onnx(graph, pixels(image, model.input))["probabilities"][0]
    assert dict(zip(model.classes, given, strict=True)) == pytest.approx(scores, abs=1e-5)
    weights = client.models.download(model.id, tmp_path / "model.safetensors")
    with safe_open(weights, "pt") as opened:
        assert opened.metadata()["format"] == "pt"
    if name in OF_TRANSFORMERS:  # the source's tensors under timm's own names, and what stands beside them
        theirs = timm.create_model("test_vit", num_classes=10, img_size=32)
        found = theirs.load_state_dict(load(weights.read_bytes()), strict=False)
        assert not found.missing_keys
        assert found.unexpected_keys
    elif name not in OWN_HEADS:
        theirs = timm.create_model("test_resnet", num_classes=10, in_chans=model.input.channels).eval()
        theirs.load_state_dict(load(weights.read_bytes()), strict=True)
        x_CHW = torch.tensor(pixels(image, model.input)).permute(2, 0, 1) / 255
        mean, std = (torch.tensor(getattr(model.input, of))[:, None, None] for of in ("mean", "std"))
        with torch.no_grad():
            p = theirs(((x_CHW - mean) / std)[None]).softmax(1)[0].tolist()
        assert dict(zip(model.classes, p, strict=True)) == pytest.approx(scores, abs=1e-4)
    assert client.models.embeddings(model.id, image)
    assert client.models.card(model.id).startswith(f"# {model.id}")
    assert "<html" in client.models.report(model.id)


@pytest.mark.parametrize("name", NO_HEADS)
def test_what_learned_without_labels_gives_features(grafts, name):
    client = grafts.client
    model = client.models.get(grafts.done(name).model)
    assert len(client.models.embeddings(model.id, sized(client, model))[0]) > 1


def test_a_model_of_images_without_labels_is_no_dead_end(grafts):
    method = {"name": "simclr", **VIEWS}
    model = grafts.finished(method=method, dataset=grafts.no_labels).model
    for next_ in ("linear_probe", "fine_tune", "knn"):
        params = {} if next_ == "knn" else BRIEF
        job = grafts.finished(method={"name": next_, **params}, checkpoint=model, dataset=grafts.here)
        assert job.evaluation.source is None
        assert job.evaluation.target.n > 0


def test_the_adapter_of_lora_on_its_source_by_peft_is_the_merged_model(grafts, tmp_path):
    client, model = grafts.client, grafts.client.models.get(grafts.done("lora").model)
    adapter = client.models.download(model.id, tmp_path / "adapter.safetensors", format="adapter")
    with safe_open(adapter, "pt") as opened:
        config = json.loads(opened.metadata()["adapter_config"])
    source = timm.create_model("test_resnet", num_classes=10)
    source.load_state_dict(load(grafts.weights.read_bytes()), strict=True)
    corrected = peft.get_peft_model(source, peft.LoraConfig(**config)).eval()
    told: Any = peft.set_peft_model_state_dict(corrected, load(adapter.read_bytes()))
    assert not told.unexpected_keys
    merged = timm.create_model("test_resnet", num_classes=10).eval()
    merged.load_state_dict(load(client.models.download(model.id, tmp_path / "merged.safetensors").read_bytes()))
    x_BCHW = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(corrected(x_BCHW), merged(x_BCHW), atol=1e-5)


@pytest.mark.parametrize("name", sorted(OF_TRANSFORMERS))
def test_what_a_transformer_has_beside_its_weights_comes_back(grafts, tmp_path, name):
    """The download, registered again without a word, predicts the same; so does what goes on from there."""
    client, model = grafts.client, grafts.client.models.get(grafts.done(name).model)
    file = client.files.upload(client.models.download(model.id, tmp_path / "model.safetensors"))
    checkpoint = client.checkpoints.wait(client.checkpoints.create(name="again", file=file.id).id, timeout_s=120)
    assert checkpoint.network.name == "extended"
    image = sized(client, model)
    answers = [
        one.predict(of, image, top_k=10)[0]
        for one, of in ((client.models, model.id), (client.checkpoints, checkpoint.id))
    ]
    scores = [{score.label: score.probability for score in answer.top} for answer in answers]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    job = grafts.finished(method={"name": "fine_tune", **BRIEF}, checkpoint=checkpoint.id, dataset=grafts.here)
    assert client.models.get(job.model).network.name == "extended"


def test_evaluate_and_quantize_by_their_results(grafts):
    evaluated = grafts.done("evaluate")
    assert evaluated.model is None
    assert evaluated.evaluation.target.n > 0
    job = grafts.client.models.quantize(grafts.tuned[0], max_accuracy_drop=1.0, max_score_shift=1.0)
    job = grafts.client.jobs.wait(job.id, timeout_s=300)
    assert job.status == "succeeded", job.error
    model = grafts.client.models.get(grafts.tuned[0])
    [served] = grafts.client.models.predict(model.id, sized(grafts.client, model), precision="int8")
    assert served.label in model.classes


def test_a_transformer_is_adapted_without_labels_and_tuned_by_its_norms(grafts, tmp_path):
    """Without batch norm: `sar` by layer norms alone; then norms alone, and biases alone in flat minima, by labels."""
    client = grafts.client
    network = {"name": "timm/test_vit", "num_classes": 10, "options": {"img_size": 32}}
    source = grafts.finished(
        method={"name": "train", **NEW, "network": network, "epochs": 12}, dataset=grafts.there
    ).model
    before = load(client.models.download(source, tmp_path / "source.safetensors").read_bytes())
    flat = {"trainable": "biases", "sharpness": {"name": "sam"}, "swad": {"optimum_patience": 1}}
    for method, learnt in (
        ({"name": "sar", "entropy_margin": 1.0, "recovery_margin": 0.0}, r"blocks\.[0-4]\.norm\d\."),
        ({"name": "fine_tune", "frozen_epochs": 0, "trainable": "norms"}, r".*norm\d?\.|head\."),
        ({"name": "fine_tune", "frozen_epochs": 0, **flat}, r".*bias$|head\."),
    ):
        job = grafts.finished(method=method | BRIEF, checkpoint=source, dataset=grafts.here)
        model = client.models.get(job.model)
        after = load(client.models.download(model.id, tmp_path / "tuned.safetensors").read_bytes())
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        assert changed
        assert all(re.match(learnt, name) for name in changed), changed
        image = sized(client, model)
        [served] = client.models.predict(model.id, image, top_k=10)
        graph = client.models.download(model.id, tmp_path / "model.onnx", format="onnx")
        given = asked_of_onnx(graph, pixels(image, model.input))["probabilities"][0]
        scores = {score.label: score.probability for score in served.top}
        assert dict(zip(model.classes, given, strict=True)) == pytest.approx(scores, abs=1e-5)
