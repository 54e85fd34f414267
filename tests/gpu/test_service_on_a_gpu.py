"""A whole service on a GPU: jobs compute there, and the networks that an API has beside it.

Needs all that the service needs, and a GPU; without one there is nothing to test here.
"""

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from sklearn.datasets import load_digits

from tests import databases, digits, services
from tests.services import another_api, beside, until

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.xdist_group("service"),
]

IMAGES = list(np.round(load_digits().images[:200] * (255 / 16)).astype(np.uint8))
TRAIN = {"name": "train", "network": digits.TINY, "epochs": 25, "batch_size": 32, "augmentation": "none"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with databases.opened("sqlite", home) as opened, services.running(home, opened.migrated()) as running:
        yield running


@pytest.fixture(scope="module")
def dataset(service, tmp_path_factory):
    file = service.client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 60))
    return service.client.datasets.wait(service.client.datasets.create(name="d", file=file.id).id, timeout_s=60).id


@pytest.fixture(scope="module")
def model(service, dataset):
    """Trained on the GPU: its id."""
    job = service.client.jobs.create(method=TRAIN, dataset=dataset, seed=1).id
    until(lambda: any(holds_gpu(step) for step in service.running_steps()))
    return service.client.jobs.wait(job, timeout_s=120).model


def holds_gpu(process: psutil.Process) -> bool:
    try:
        return any("/dev/nvidia" in str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.parametrize(
    "method",
    [
        {"name": "fine_tune", "epochs": 5},
        {"name": "fine_tune", "epochs": 5, "trainable": "last_stages", "augmentation": "none"},
        {"name": "fine_tune", "epochs": 5, "precision": "bfloat16", "compile": True},
        {"name": "linear_probe"},
        {"name": "svm"},
    ],
    ids=str,
)
def test_jobs_go_on_from_what_was_trained_there(service, dataset, model, method):
    client = service.client
    checkpoint = client.checkpoints.create(name="source", model=model).id
    client.checkpoints.wait(checkpoint, timeout_s=60)
    job = client.jobs.create(method=method, checkpoint=checkpoint, dataset=dataset, seed=1).id
    done = client.jobs.wait(job, timeout_s=180)
    assert client.models.get(done.model).evaluation.target.accuracy > 0.8


def test_networks_beside_an_api_answer_there_as_the_graph_does(service, model):
    graph = service.client.models.predict(model, IMAGES, top_k=10)
    with another_api(service, REGRAFT_DEVICE="cuda") as (client, process):
        network = client.models.predict(model, IMAGES, top_k=10)
        [child] = beside(process)
        assert holds_gpu(child)
        adapted = client.models.predict(model, IMAGES, adapt="tent")
    right = [answer.label == str(digit) for answer, digit in zip(adapted, load_digits().target, strict=False)]
    assert np.mean(right) > 0.8
    for one, other in zip(network, graph, strict=True):
        scores = [{entry.label: entry.probability for entry in answer.top} for answer in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=5e-3)  # half precision
