"""A model in eight bits: what it may lose is measured, and it is served beside the model as it was."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from regraft import ApiError, Unsuccessful

pytestmark = pytest.mark.any_database

IMAGES = np.round(load_digits().images[-300:] * (255 / 16)).astype(np.uint8)


@pytest.fixture
def model(digits_model):
    return digits_model


def likeliest(client, model, **options):
    return [(one.label, one.probability) for one in client.models.predict(model, list(IMAGES), **options)]


def refused(code, ask):
    with pytest.raises(ApiError) as found:
        ask()
    assert found.value.code == code


def test_a_model_in_eight_bits(service, model):
    client = service.client
    refused("not_quantized", lambda: client.models.predict(model, IMAGES[0], precision="int8"))
    before = likeliest(client, model)
    job = client.jobs.wait(client.models.quantize(model, max_accuracy_drop=0.05).id, timeout_s=120)
    assert job.model == model
    lost = client.models.get(model).quantization
    for split in ("validation", "test"):
        found = lost[split]
        assert found["accuracy"]["float32"] - found["accuracy"]["int8"] == pytest.approx(found["accuracy_drop"])
        assert found["accuracy_drop"] <= 0.05
        assert 0 < found["mean_score_shift"] <= found["score_shift"]
        assert found["agreement"] > 0.95
    assert lost["validation"]["score_shift"] <= 0.25
    small = likeliest(client, model, precision="int8")
    assert np.mean([one[0] == other[0] for one, other in zip(before, small, strict=True)]) > 0.95
    shifts = [abs(one[1] - other[1]) for one, other in zip(before, small, strict=True) if one[0] == other[0]]
    assert 0 < max(shifts) < 0.3
    assert likeliest(client, model) == before == likeliest(client, model, precision="float32")
    one = client.models.predict(model, IMAGES[0], precision="int8", top_k=2)
    assert one[0].label == small[0][0]
    assert len(one[0].top) == 2


def test_what_would_lose_too_much_is_refused_and_the_model_stays(service, model):
    client = service.client
    known = client.models.get(model).quantization
    job = client.models.quantize(model, max_score_shift=0)
    with pytest.raises(Unsuccessful) as failed:
        client.jobs.wait(job.id, timeout_s=120)
    assert failed.value.code == "too_lossy"
    assert "a score moved by up to 0." in failed.value.message
    assert client.models.get(model).quantization == known


def test_only_models_are_quantised(service, model):
    client = service.client
    checkpoint = client.checkpoints.create(name="c", model=model)
    dataset = client.models.get(model).dataset
    refused("does_not_fit", lambda: client.jobs.create(method="quantize", checkpoint=checkpoint.id, dataset=dataset))
    refused("not_found", lambda: client.models.quantize("model_nobody"))
    refused("invalid_request", lambda: client.models.quantize(model, max_accuracy_drop=2))
