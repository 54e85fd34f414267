"""How unusual an image is, and probabilities for other shares of the classes: of a model that a worker made, over HTTP.

By the graph in the API, by a PyTorch process beside it, in eight bits, of a checkpoint, and on the command line.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests import digits
from tests.services import another_api

pytestmark = pytest.mark.any_database

DATA = load_digits()
IMAGES = np.round(DATA.images[-600:] * (255 / 16)).astype(np.uint8)
LABELS = DATA.target[-600:]
NOISE = np.random.default_rng(0).integers(0, 256, (200, 8, 8)).astype(np.uint8)
METHOD = {
    "name": "train",
    "network": digits.TINY,
    "epochs": 25,
    "batch_size": 32,
    "augmentation": "none",
    "calibrate": True,
}


@pytest.fixture(scope="module")
def model(service, tmp_path_factory):
    client = service.client
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 90))
    dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=60)
    job = client.jobs.wait(client.jobs.create(method=METHOD, dataset=dataset.id, seed=1).id, timeout_s=120)
    return job.model


def quantiles(predictions):
    return np.array([each.out_of_distribution.quantile for each in predictions])


def test_noise_is_more_unusual_than_digits(service, model):
    known = service.client.models.get(model).reference
    assert known["images"] >= 90
    of_digits, of_noise = (quantiles(service.client.models.predict(model, list(images))) for images in (IMAGES, NOISE))
    assert 0.4 < of_digits.mean() < 0.75  # digits that it has not seen, among those of the validation split
    area = (of_noise[:, None] > of_digits).mean() + (of_noise[:, None] == of_digits).mean() / 2
    assert area > 0.8


def test_every_way_to_serve_it_says_the_same(service, model):
    client, shown = service.client, [*IMAGES[:40], *NOISE[:10]]
    graph = client.models.predict(model, shown)
    assert len({each.out_of_distribution.energy for each in graph}) == 50
    one = client.models.predict(model, shown[0])[0].out_of_distribution
    assert one.energy == pytest.approx(graph[0].out_of_distribution.energy, abs=1e-4)
    checkpoint = client.checkpoints.create(name="again", model=model).id
    assert client.checkpoints.predict(checkpoint, shown) == graph
    with another_api(service) as (torch_client, _):
        beside = torch_client.models.predict(model, shown)
        shifted = torch_client.models.predict(model, shown, priors="estimate").priors
    energies = [[each.out_of_distribution.energy for each in answer] for answer in (beside, graph)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-3)
    np.testing.assert_allclose(quantiles(beside), quantiles(graph), atol=1e-3)
    assert shifted.shares == pytest.approx(
        client.models.predict(model, shown, priors="estimate").priors.shares, abs=1e-3
    )
    client.jobs.wait(client.models.quantize(model, max_accuracy_drop=0.2, max_score_shift=1).id, timeout_s=120)
    small = quantiles(client.models.predict(model, shown, precision="int8"))
    assert 0 < np.abs(small - quantiles(graph)).mean() < 0.1


def test_probabilities_for_other_shares(service, model):
    """Of 300 images of which two classes are most: the shares are found, and more predictions are right."""
    wanted = np.concatenate([np.flatnonzero(np.isin(LABELS, (3, 8))), np.flatnonzero(~np.isin(LABELS, (3, 8)))[:20]])
    shown, truth = [IMAGES[i] for i in wanted], LABELS[wanted]
    client = service.client
    before, after = (client.models.predict(model, shown, priors=priors, top_k=10) for priors in (None, "estimate"))
    assert before.priors is None
    assert after.priors.estimated
    assert after.priors.images == len(shown)
    assert sum(after.priors.reference.values()) == pytest.approx(1)
    found = np.array([after.priors.shares[str(digit)] for digit in range(10)])
    np.testing.assert_allclose(found, np.bincount(truth, minlength=10) / len(truth), atol=0.06)

    def loss(predictions):
        of_truth = [
            next(score.probability for score in each.top if score.label == str(label))
            for each, label in zip(predictions, truth, strict=True)
        ]
        return -np.log(np.clip(of_truth, 1e-9, 1)).mean()

    assert loss(after) < loss(before)
    given = client.models.predict(model, shown, priors=after.priors.shares, top_k=10)
    assert not given.priors.estimated
    for one, other in zip(given, after, strict=True):
        assert one.label == other.label
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_the_command_shows_both(service, model, tmp_path):
    paths = []
    for number, image in enumerate([*IMAGES[:20], NOISE[0]]):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    plain = {name: value for name, value in os.environ.items() if not name.startswith("REGRAFT_")}
    settings = plain | {"REGRAFT_URL": service.url, "REGRAFT_KEY": service.client_key, "COLUMNS": "200"}
    command = [sys.executable, "-m", "regraft", "predict", model, *map(str, paths), "--priors"]
    done = subprocess.run([*command, "estimate"], env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "unusual" in done.stdout
    assert "Corrected for these shares of the classes: 0 " in done.stdout
    done = subprocess.run([*command, '{"x": 1}'], env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "The network has no class 'x'" in done.stderr
