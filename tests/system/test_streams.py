"""Predictions by a network that adapts to what it is asked: over HTTP, PyTorch in a process beside the API."""

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_digits

from regraft import ApiError, Client
from regraft.demo.data import png
from tests.services import beside, until

pytestmark = pytest.mark.any_database


@pytest.fixture
def model(digits_model):
    return digits_model


def stream():
    """Digits that the network was not trained on, shuffled, of little contrast on a bright ground; and their labels."""
    found = load_digits()
    rows = np.concatenate([np.flatnonzero(found.target == digit)[60:] for digit in range(10)])
    rows = np.random.default_rng(0).permutation(rows)
    faint = found.images[rows] * (255 / 16) * 0.3 + 150
    return np.round(faint).astype(np.uint8), found.target[rows]


IMAGES, LABELS = stream()


def right(client, model, **options):
    """Share of the stream that is answered rightly, in requests of 64."""
    said = []
    for start in range(0, len(IMAGES), 64):
        said += client.models.predict(model, list(IMAGES[start : start + 64]), **options)
    return np.mean([one.label == str(label) for one, label in zip(said, LABELS, strict=True)])


def test_it_learns_from_what_it_is_asked(service, model):
    client = service.client
    assert client.models.adaptation(model).steps == 0
    unadapted, adapted = right(client, model), right(client, model, adapt="tent")
    assert adapted > unadapted + 0.2
    told = client.models.adaptation(model)
    assert (told.steps, told.images, told.waiting) == (-(-len(IMAGES) // 64), len(IMAGES), 0)
    assert told.collapses == 0
    assert right(client, model) == unadapted  # what is asked without `adapt` is answered as ever


def test_reset_gives_the_same_answers_again(service, model):
    client = service.client
    client.models.reset_adaptation(model)
    first = [client.models.predict(model, list(IMAGES[:64]), adapt="tent") for _ in range(2)]
    assert first[0] != first[1]
    client.models.reset_adaptation(model)
    assert client.models.adaptation(model).steps == 0
    again = [client.models.predict(model, list(IMAGES[:64]), adapt="tent") for _ in range(2)]
    assert again == first


def test_few_images_wait_for_company(service, model):
    client = service.client
    client.models.reset_adaptation(model)
    for image in IMAGES[:15]:
        (one,) = client.models.predict(model, [image], adapt="tent")
        assert one.top
    assert (client.models.adaptation(model).steps, client.models.adaptation(model).waiting) == (0, 15)
    client.models.predict(model, IMAGES[15], adapt="tent")
    assert (client.models.adaptation(model).steps, client.models.adaptation(model).waiting) == (1, 0)


def test_a_collapse_is_told_and_it_begins_anew(service, model):
    """A stream of one image: there is but one class in it, and nothing to adapt to."""
    client = service.client
    client.models.reset_adaptation(model)
    source = client.models.predict(model, IMAGES[0])
    answers = client.models.predict(model, [IMAGES[0]] * 64, adapt="tent")
    assert {answer.label for answer in answers} == {source[0].label}  # it answers as the source
    told = client.models.adaptation(model)
    assert (told.steps, told.collapses) == (0, 1)


def test_a_process_that_dies_takes_nothing_with_it_but_the_adaptation(service, model):
    client = service.client
    client.models.predict(model, list(IMAGES[:64]), adapt="tent")
    [process] = beside(service.api.pid)
    process.kill()
    until(lambda: not beside(service.api.pid))
    assert client.models.adaptation(model).steps == 0
    assert len(client.models.predict(model, list(IMAGES[:64]), adapt="tent")) == 64
    assert client.models.adaptation(model).steps == 1


def refused(code, ask):
    with pytest.raises(ApiError) as found:
        ask()
    assert found.value.code == code


def test_what_cannot_adapt_is_refused(service, model, tmp_path):
    client = service.client
    dataset = client.models.get(model).dataset
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": 10}]
    plain = {"name": "layers", "num_classes": 10, "options": {"layers": layers}}
    methods = ({"name": "train", "network": plain, "epochs": 1}, {"name": "knn"})
    for method in methods:
        source = None if method["name"] == "train" else model
        made = client.jobs.create(method=method, dataset=dataset, checkpoint=source)
        other = client.jobs.wait(made.id, timeout_s=60).model
        refused("not_adaptable", lambda other=other: client.models.predict(other, IMAGES[0], adapt="tent"))
        assert client.models.predict(other, IMAGES[0])
    refused("not_found", lambda: client.models.adaptation("model_nobody"))
    refused("not_found", lambda: client.models.reset_adaptation("model_nobody"))
    refused("not_found", lambda: client.models.predict("model_nobody", IMAGES[0], adapt="tent"))


def test_it_is_the_owners_alone_and_takes_no_idempotency_key(service, model):
    key = service.client.keys.create(name="other", owner="other", scopes=["read", "write", "predict"]).key
    with Client(service.url, key=key) as other:
        refused("not_found", lambda: other.models.predict(model, IMAGES[0], adapt="tent"))
        refused("not_found", lambda: other.models.adaptation(model))
        refused("not_found", lambda: other.models.reset_adaptation(model))
    image = png(IMAGES[0])
    headers = {"Authorization": f"Bearer {service.client_key}", "Content-Type": "image/png", "Idempotency-Key": "a"}
    url = f"{service.url}/v1/models/{model}/predictions?adapt=tent"
    answer = httpx.post(url, content=image, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["param"]) == (422, "adapt")
    del headers["Idempotency-Key"]
    answer = httpx.post(f"{url}&precision=int8", content=image, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["param"]) == (422, "precision")
    answer = httpx.post(url, content=image, headers=headers, timeout=60)
    assert set(answer.json()["adaptation"]) == {"steps", "images", "entropy", "waiting", "collapses"}
