"""Another input size than the source's, where its weights go with any; and the size of a network that is new."""

import pytest
import torch
from safetensors.torch import save_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import DatasetSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Data, Setting
from worker.methods import inputs
from worker.methods.task import Domain
from worker.networks import build
from worker.runtime.contract import Failure, Note
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

RESIDUAL = NetworkSpec(name="cifar_resnet", num_classes=10, options={"depth": 8})
TRANSFORMER = NetworkSpec(name="timm/test_vit", num_classes=10)
SHORT = {"epochs": 1, "batch_size": 20, "frozen_epochs": 0}
CLASSICAL = {"name": "ridge"}


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Data:
    return tasks.dataset(tmp_path_factory.mktemp("target"), 10)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Networks as checkpoints, each for images of one size."""

    def source(spec: NetworkSpec, side: int):
        input = InputSpec(size=(side, side), channels=1, mean=(0.5,), std=(0.25,))
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("source") / "weights.safetensors"
        save_file(build.build(spec, input).state_dict(), path)
        document = {"network": spec.model_dump(), "input": input.model_dump(), "recipe": None}
        return document | {"classes": [str(k) for k in range(10)]}, path

    return source


def notes(outcome, code: str) -> list[Note]:
    return [note for note in outcome.recorder.of(Note) if note.type == code]


@pytest.mark.parametrize("method", [{"name": "fine_tune"} | SHORT, {"name": "evaluate"}, {"name": "adabn"}, CLASSICAL])
def test_convolutions_go_to_another_size(sources, target, tmp_path, method):
    source = sources(RESIDUAL, 8)
    moved = tasks.run(Setting(method | {"input": {"size": [16, 12]}}, source, target), tmp_path / "moved")
    classifier = moved.measured.adapted.classifier
    assert classifier.input.size == (16, 12)
    [said] = notes(moved, "input_size")
    assert "8×8" in said.message
    assert "16×12" in said.message
    document, weights = source
    there = document | {"input": document["input"] | {"size": [16, 12]}}
    registered = tasks.run(Setting(method, (there, weights), target), tmp_path / "registered")
    assert moved.sha256 == registered.sha256  # as though its checkpoint had said so
    assert moved.document["evaluation"] == registered.document["evaluation"]


def test_embeddings_of_positions_go_to_another_size_and_terms_with_them(sources, target, tmp_path):
    terms = [{"name": "l2_sp"}, {"name": "delta"}, {"name": "lwf"}]
    method = {"name": "fine_tune", "input": {"size": [64, 64]}, "terms": terms} | SHORT
    outcome = tasks.run(Setting(method, sources(TRANSFORMER, 32), target), tmp_path)
    reshaped = outcome.document["transfer"]["tensors"]["reshaped"]
    assert [entry["name"] for entry in reshaped] == ["pos_embed"]
    assert outcome.document["input"]["size"] == [64, 64]


def test_weights_of_one_size_are_named(sources, target, tmp_path):
    network = NetworkSpec(name="cnn3", num_classes=10)
    method = {"name": "fine_tune", "input": {"size": [16, 16]}} | SHORT
    with pytest.raises(Failure, match=r"8×8 grey images alone.*fc1\.weight.*\[1024, 128\].*\[1024, 512\]") as refused:
        tasks.run(Setting(method, sources(network, 8), target), tmp_path)
    assert refused.value.code == "does_not_fit"


@pytest.fixture
def drawn(target, tmp_path):
    """The input of a new network for 8×8 images, and what was said of it."""

    def find(name: str, **options) -> tuple[InputSpec, list[Note]]:
        domain = Domain.open(DatasetSpec.load(target.document), target.pixels, target.index)
        recorder = Recorder()
        spec = NetworkSpec(name=name, num_classes=10, options=options)
        return inputs.default(spec, domain, Run(recorder, tmp_path)), recorder.of(Note)

    return find


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/test_efficientnet", "timm/test_vit"])
def test_a_library_s_network_is_drawn_for_the_dataset_s_size(drawn, name):
    input, [said] = drawn(name)
    assert input.size == (32, 32)  # no smaller one
    assert input.channels == 3
    assert said.level == "warning"
    assert "32×32" in said.message


def test_where_it_cannot_it_is_drawn_for_its_usual_size(drawn):
    input, [said] = drawn("torchvision/alexnet")
    assert input.size == (224, 224)
    assert said.level == "warning"
    assert "cannot take" in said.message


def test_a_size_that_is_said_is_taken(drawn):
    input, said = drawn("timm/test_vit", img_size=64, in_chans=1)
    assert (input.size, input.channels, said) == ((64, 64), 1, [])
    assert drawn("cnn3") == (build.usual_input(NetworkSpec(name="cnn3", num_classes=10)), [])
