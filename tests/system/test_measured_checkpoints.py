"""Files that fit networks alike which compute something else: labelled images decide, over HTTP."""

import json
import zipfile

import pytest

from regraft import ApiError, Unsuccessful
from regraft.demo.data import write_zip
from tests import digits, probed, weights_files

pytestmark = pytest.mark.any_database

USUAL, OTHER = "timm/mobilenetv3_small_075", "timm/tf_mobilenetv3_small_075"  # of the same names and shapes
SIDE = 64
INPUT = {"size": [SIDE, SIDE], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
NAMES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def file(service):
    """The weights of the less usual of the two, at a size of their own; its id."""
    return service.client.files.upload(weights_files.saved(probed.weights(OTHER, SIDE)), filename="w.pt").id


@pytest.fixture(scope="module")
def dataset(service, tmp_path_factory):
    """A function that makes a dataset of real digits, and gives its id."""

    def make(classes=10, archive=None, **fields):
        path = tmp_path_factory.mktemp("digits") / "digits.zip"
        stored = service.client.files.upload(
            archive(path) if archive else digits.optdigits_folders(path, probed.PER_CLASS, classes)
        )
        created = service.client.datasets.create(name="d", file=stored.id, **fields)
        return service.client.datasets.wait(created.id, timeout_s=60).id

    return make


@pytest.fixture(scope="module")
def labelled(dataset):
    return dataset()


@pytest.fixture(scope="module")
def register(service, file):
    def register(dataset, **fields):
        created = service.client.checkpoints.create(name="c", file=file, input=INPUT, dataset=dataset, **fields)
        return service.client.checkpoints.wait(created.id, timeout_s=120)

    return register


def codes(answer):
    return {warning.code for warning in answer.warnings}


def test_labelled_images_decide_between_networks_that_the_file_fits_alike(service, register, labelled):
    without = register(None)
    assert (without.network.name, without.identified.measured) == (USUAL, None)
    assert "network_ambiguous" in codes(without)
    checkpoint = register(labelled)
    assert checkpoint.network.name == OTHER
    assert codes(checkpoint) == {"network_measured"}
    first, second, *rest = checkpoint.identified.candidates
    assert (first["network"]["name"], second["network"]["name"]) == (OTHER, USUAL)
    assert first["accuracy"] > 0.95 > 0.3 > second["accuracy"]
    assert (first["ambiguous_with"], first["same_as"]) == ([], [])
    assert not [one for one in rest if "accuracy" in one]
    measured = checkpoint.identified.measured
    assert (measured["dataset"], measured["classes"], measured["matched_by"]) == (labelled, 10, "order")
    splits = service.client.datasets.get(labelled).splits
    assert measured["images"] == {split: splits[split] for split in ("train", "validation")}  # the test split is kept
    assert measured["decided"]
    assert measured["p_value"] < 1e-6
    (warning,) = checkpoint.warnings
    assert f"{OTHER} on 100.0%" in warning.message
    assert f"{splits['train']} of its train split" in warning.message
    images = [digits.one_png(number) for number in range(10)]
    answers = service.client.checkpoints.predict(checkpoint.id, images)
    assert [answer.label for answer in answers] == NAMES  # the service serves the network that was right


def test_identify_decides_too(service, labelled):
    client = service.client
    file = client.files.upload(weights_files.saved(probed.weights(OTHER)), filename="w.pt").id
    found = client.checkpoints.identify(file, dataset=labelled, timeout_s=120)
    assert (found.dataset, found.rule) == (labelled, "names")
    assert [one["network"]["name"] for one in found.candidates[:2]] == [OTHER, USUAL]
    assert found.candidates[0]["accuracy"] > 0.95
    assert found.measured["decided"]
    assert codes(found) == {"network_measured", "input_assumed"}
    with pytest.raises(ApiError) as refused:
        client.datasets.delete(labelled)  # it is needed
    assert refused.value.code == "has_dependents"


def test_identify_sees_images_as_it_is_told(service, labelled):
    client = service.client
    file = client.files.upload(weights_files.saved(probed.weights(OTHER, SIDE)), filename="w.pt").id
    found = client.checkpoints.identify(file, dataset=labelled, input=INPUT, classes=NAMES, timeout_s=120)
    assert found.measured["matched_by"] == "names"
    assert (found.input.model_dump(mode="json")["size"], found.classes) == (INPUT["size"], NAMES)
    assert codes(found) == {"network_measured"}  # nothing had to be assumed
    assert [one["network"]["name"] for one in found.candidates[:2]] == [OTHER, USUAL]


def test_images_that_no_candidate_knows_decide_nothing(register, dataset):
    """The labels are those of the next digit."""

    def rotated(path):
        with zipfile.ZipFile(digits.optdigits_folders(path.with_name("plain.zip"), probed.PER_CLASS)) as plain:
            write_zip(path, {_next(name): plain.read(name) for name in plain.namelist()})
        return path

    checkpoint = register(dataset(archive=rotated))
    assert checkpoint.network.name == USUAL
    assert checkpoint.identified.candidates[0]["ambiguous_with"] == [OTHER]
    assert not checkpoint.identified.measured["decided"]
    assert {"network_measured", "network_ambiguous"} <= codes(checkpoint)
    (message,) = [one.message for one in checkpoint.warnings if one.code == "network_measured"]
    assert "commonest class" in message


def _next(name):
    root, digit, rest = name.split("/")
    return f"{root}/{(int(digit) + 1) % 10}/{rest}"


def test_some_of_the_classes_decide_where_their_names_are_the_same(register, dataset):
    checkpoint = register(dataset(classes=6), classes=NAMES)
    assert checkpoint.network.name == OTHER
    measured = checkpoint.identified.measured
    assert (measured["classes"], measured["matched_by"]) == (6, "names")


def test_other_classes_are_refused(register, dataset):
    with pytest.raises(Unsuccessful) as failed:
        register(dataset(classes=6))
    assert failed.value.code == "does_not_fit"
    assert "its 6 classes (0, 1, 2, …) are not the 10 of the file's head" in failed.value.message
    with pytest.raises(Unsuccessful) as failed:
        register(dataset(classes=6), classes=[f"thing {number}" for number in range(10)])
    assert "which names others (thing 0, thing 1, thing 2, …)" in failed.value.message


def test_a_file_without_a_head_cannot_be_measured(service, labelled):
    weights = {name: t for name, t in probed.weights(OTHER, SIDE).items() if not name.startswith("classifier.")}
    file = service.client.files.upload(weights_files.saved(weights), filename="w.pt").id
    with pytest.raises(Unsuccessful) as failed:
        service.client.checkpoints.identify(file, dataset=labelled, timeout_s=120)
    assert failed.value.code == "does_not_fit"
    assert "no head" in failed.value.message


def test_what_is_clear_is_not_measured(service, labelled):
    weights = weights_files.saved(probed.weights("cnn3"))
    file = service.client.files.upload(weights, filename="w.pt").id
    found = service.client.checkpoints.identify(file, dataset=labelled, timeout_s=120)
    assert found.candidates[0]["network"]["name"] == "cnn3"
    assert found.measured is None
    assert "not_measured" in codes(found)


def test_a_dataset_that_cannot_decide_is_refused_at_once(service, file, labelled, dataset):
    post = service.client.http.post

    def refusal(path, **body):
        answer = post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
        problem = answer.json()
        return problem["code"], problem["param"], problem["detail"]

    network = {"name": OTHER, "num_classes": 10}
    whole = {"name": "c", "file": file, "dataset": labelled}
    code, param, detail = refusal("/v1/checkpoints", **whole, network=network)
    assert (code, param) == ("invalid_request", "dataset")
    assert "`network`" in detail
    assert "`multi_label`" in refusal("/v1/checkpoints", **whole, multi_label=True)[2]
    unlabelled = dataset(labelled=False)
    assert refusal("/v1/checkpoints/identify", file=file, dataset=unlabelled)[:2] == ("does_not_fit", "dataset")
    missing = {"file": file, "dataset": "ds_000000000000000000000000"}
    assert post("/v1/checkpoints/identify", json=missing).status_code == 404
