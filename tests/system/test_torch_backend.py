"""An API that has its networks in a PyTorch process beside it, on the device of the settings: here the CPU."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.services import another_api, beside, until

pytestmark = pytest.mark.any_database

IMAGES = list(np.round(load_digits().images[:40] * (255 / 16)).astype(np.uint8))


@pytest.fixture
def model(digits_model):
    return digits_model


def test_it_answers_as_the_graph_does(service, model):
    graph = service.client.models.predict(model, IMAGES, top_k=10)
    with another_api(service) as (client, process):
        assert not beside(process)  # it is started when it is first asked
        network = client.models.predict(model, IMAGES, top_k=10)
        features = client.models.predict(model, IMAGES[0])
        assert len(beside(process)) == 1
    assert features[0].label == graph[0].label
    for one, other in zip(network, graph, strict=True):
        assert one.label == other.label
        scores = [{entry.label: entry.probability for entry in answer.top} for answer in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_process_that_dies_is_replaced(service, model):
    with another_api(service) as (client, process):
        client.models.predict(model, IMAGES)
        [child] = beside(process)
        child.kill()
        until(lambda: not beside(process))
        assert len(client.models.predict(model, IMAGES)) == len(IMAGES)
        assert beside(process) != [child]


def test_what_makes_room_is_forgotten_there(service, model):
    """With memory for no network but the one that is asked, both are answered in turn."""
    checkpoint = service.client.checkpoints.create(name="again", model=model).id
    service.client.checkpoints.wait(checkpoint, timeout_s=60)
    with another_api(service, REGRAFT_SERVING_MEMORY_BYTES="1") as (client, _):
        for _ in range(3):
            assert len(client.models.predict(model, IMAGES)) == len(IMAGES)
            assert len(client.checkpoints.predict(checkpoint, IMAGES)) == len(IMAGES)
