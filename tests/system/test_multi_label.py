"""Images with any number of labels over HTTP: a CSV in a zip, an adaptation, its evaluation, predictions."""

import io
import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from regraft import Invalid
from regraft.demo.data import png, write_zip
from tests import digits

pytestmark = pytest.mark.any_database

CLASSES = ["even", "large", "prime"]
LABELS = {
    digit: [name for name, has in zip(CLASSES, (digit % 2 == 0, digit > 4, digit in (2, 3, 5, 7)), strict=True) if has]
    for digit in range(10)
}  # of 1: none
COUNT = 300


def archive(path):
    data = load_digits()
    members = {f"images/{n:03}.png": png(np.round(data.images[n] * (255 / 16)).astype(np.uint8)) for n in range(COUNT)}
    lines = [f"{name},{'|'.join(LABELS[int(data.target[n])])}" for n, name in enumerate(members)]
    write_zip(path, members | {"labels.csv": "\n".join(["file,labels", *lines]).encode()})
    return path


@pytest.fixture(scope="module")
def client(service):
    return service.client


@pytest.fixture(scope="module")
def dataset(client, tmp_path_factory):
    file = client.files.upload(archive(tmp_path_factory.mktemp("d") / "several.zip"))
    return client.datasets.wait(client.datasets.create(name="several", file=file.id).id, timeout_s=60)


@pytest.fixture(scope="module")
def single(client, tmp_path_factory):
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 20))
    return client.datasets.wait(client.datasets.create(name="digits", file=file.id).id, timeout_s=60)


def finished(client, **options):
    return client.jobs.wait(client.jobs.create(**options).id, timeout_s=120)


@pytest.fixture(scope="module")
def source(client, single):
    method = {"name": "train", "network": digits.TINY, "epochs": 5}
    return finished(client, method=method, dataset=single.id).model


@pytest.fixture(scope="module")
def job(client, source, dataset):
    method = {"name": "fine_tune", "epochs": 20, "learning_rate": 0.05, "backbone_factor": 1.0}
    return finished(client, method=method, dataset=dataset.id, checkpoint=source)


def test_the_dataset_says_what_it_is(client, dataset, single):
    assert (dataset.multi_label, single.multi_label) == (True, False)
    assert dataset.classes == CLASSES
    train = np.array(dataset.counts["train"])
    assert (train > 0).all()
    assert train.sum() > dataset.splits["train"]  # an image counts for each of its labels
    page = client.http.get(f"/v1/datasets/{dataset.id}/samples", params={"label": "even", "limit": 100}).json()
    assert len(page["data"]) == min(100, train[0])
    assert all("even" in sample["labels"] for sample in page["data"])
    assert {tuple(sample["labels"]) for sample in page["data"]} <= {tuple(names) for names in LABELS.values()}


def test_the_evaluation_is_class_by_class(job):
    target = job.evaluation.target
    assert target.map > 0.8  # guessing: about 0.47
    assert target.map == pytest.approx(np.mean(target.average_precision))
    assert len(target.average_precision) == len(target.per_class) == 3
    low, high = target.accuracy_interval
    assert low < target.accuracy < high
    assert 0.5 < target.micro_f1 <= 1
    assert 0.5 < target.macro_f1 <= 1
    assert target.confusion is None


def test_predictions_have_every_class_and_those_that_are_there(client, job, tmp_path):
    model = client.models.get(job.model)
    assert model.multi_label
    image = digits.one_png(4)
    [found] = client.models.predict(job.model, image)
    assert sorted(score.label for score in found.top) == CLASSES
    assert (found.label, found.probability) == (found.top[0].label, found.top[0].probability)
    assert found.labels == [score.label for score in found.top if score.probability >= 0.5]
    assert len(client.models.predict(job.model, image, top_k=1)[0].top) == 1
    graph = onnxruntime.InferenceSession(client.models.download(job.model, tmp_path, format="onnx").read_bytes())
    pixels = np.array(Image.open(io.BytesIO(image)).resize(model.input.size[::-1]))[None, :, :, None]
    [probabilities] = graph.run(["probabilities"], {"image": pixels})[0]
    assert {score.label: score.probability for score in found.top} == pytest.approx(
        dict(zip(CLASSES, probabilities.tolist(), strict=True)), abs=1e-5
    )
    several = client.models.predict(job.model, [digits.one_png(n) for n in range(20)])
    assert {len(one.labels) for one in several} > {1}  # not one each


def test_one_label_an_image_is_predicted_as_before(client, source):
    [found] = client.models.predict(source, digits.one_png(4))
    assert found.labels is None
    assert len(found.top) == 5


def test_a_promoted_checkpoint_keeps_its_kind_and_is_evaluated(client, job, dataset):
    created = client.checkpoints.create(name="again", model=job.model)
    assert client.checkpoints.wait(created.id, timeout_s=30).multi_label
    again = finished(client, method="evaluate", dataset=dataset.id, checkpoint=created.id)
    assert again.evaluation.target.map == pytest.approx(job.evaluation.target.map)


def test_the_other_kind_is_refused(client, job, source, dataset, single):
    for checkpoint, other in ((job.model, single), (source, dataset)):
        with pytest.raises(Invalid) as refused:
            client.jobs.create(method="evaluate", dataset=other.id, checkpoint=checkpoint)
        assert refused.value.code == "does_not_fit"
        assert any("any number of labels" in fault["detail"] for fault in refused.value.errors)
    method = {"name": "fine_tune", "terms": [{"name": "lwf"}]}
    with pytest.raises(Invalid) as refused:
        client.jobs.create(method=method, dataset=dataset.id, checkpoint=source)
    assert refused.value.param == "method.terms.0"


def test_back_to_one_label_an_image(client, job, single):
    method = {"name": "linear_probe", "epochs": 5}
    back = finished(client, method=method, dataset=single.id, checkpoint=job.model)
    assert back.evaluation.target.map is None
    assert not client.models.get(back.model).multi_label


def test_a_label_budget_is_counted_when_the_job_runs(client, source, dataset):
    """How many images that is hangs on each image's rarest class, which only the run looks at."""
    method = {"name": "linear_probe", "epochs": 2, "labels_per_class": 5}
    body = {"method": method, "dataset": dataset.id, "checkpoint": source}
    preflight = client.http.post("/v1/jobs/preflight", json=body).json()
    assert preflight["fits"]
    assert preflight["images"] is None
    job = finished(client, **body)
    assert "20 training labels" in job.evaluation.labels_used  # 5 of each of three classes, and of those without
    assert job.method["batch_size"] == 8


def test_the_command_shows_the_labels(service, job, tmp_path):
    image = tmp_path / "four.png"
    image.write_bytes(digits.one_png(4))
    [found] = service.client.models.predict(job.model, image.read_bytes())
    command = [sys.executable, "-m", "regraft", "predict", job.model, str(image)]
    settings = os.environ | {"REGRAFT_URL": service.url, "REGRAFT_KEY": service.client_key, "COLUMNS": "200"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"four.png  {', '.join(found.labels) or 'none'}  " in done.stdout


def test_the_card_lists_the_classes(client, job):
    card = client.http.get(f"/v1/models/{job.model}/card").text
    assert "any number of labels" in card
    for name, precision in zip(CLASSES, job.evaluation.target.average_precision, strict=True):
        assert f"| {name} | {precision:.3f} |" in card
