"""Predictions with an out-of-distribution score, and corrected for the shares of classes, by every way of asking."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from app.api.predictions import answering
from tests.app.api.test_fast_predictions import same, slow
from tests.app.api.test_predictions import coded, form, raw, refused
from tests.app.api.world import CLASSES, made, png

SEEN = float(-np.log(np.exp(5.4) + 2))  # the energy of a bar: logits 27 · 0.2, 0 and 0
REFERENCE = {
    "images": 30,
    "energy": np.linspace(SEEN - 0.99, SEEN + 0.01, 101).tolist(),
    "priors": [0.5, 0.25, 0.25],
}
LOGITS = np.array([5.4, 0, 0])
IMAGES = [png(name) for name in ["top"] * 12 + ["middle"] * 6 + ["bottom"] * 2]


@pytest.fixture
def model(world):
    return world.published_model(reference=REFERENCE)


@pytest.fixture
def path(model):
    return f"/v1/models/{model['id']}/predictions"


def grey():
    """An image of no class: all logits are 0, and the energy is −ln 3."""
    buffer = io.BytesIO()
    Image.new("L", (9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_model_shows_its_reference(model, world):
    assert model["reference"] == REFERENCE
    assert world.model()["reference"] is None


def test_an_image_is_compared_with_the_validation_images(client, path):
    (bar,) = made(raw(client, path, png("middle")), 200)["data"]
    assert set(bar) == {"index", "label", "probability", "out_of_distribution", "top"}
    assert bar["out_of_distribution"] == pytest.approx({"energy": SEEN, "quantile": 0.99}, abs=1e-4)
    (empty,) = made(raw(client, path, grey()), 200)["data"]
    assert empty["out_of_distribution"] == pytest.approx({"energy": -np.log(3), "quantile": 1.0}, abs=1e-4)


def test_every_way_of_asking_gives_the_same(client, path):
    same(client, path, 200)
    same(client, path + "?top_k=1", 200)
    one = made(slow(client, path, grey()), 200)["data"][0]
    for answer in (client.post(path, files=form([grey()])), client.post(path, json=coded([grey()]))):
        assert made(answer, 200)["data"] == [one]


def test_a_checkpoint_that_was_a_model_says_it_too(client, model):
    checkpoint = made(client.post("/v1/checkpoints", json={"name": "again", "model": model["id"]}), 202)
    path = f"/v1/checkpoints/{checkpoint['id']}/predictions"
    same(client, path, 200)
    assert raw(client, path, grey()).json()["data"][0]["out_of_distribution"]["quantile"] == 1
    assert made(client.post(path, files=form(IMAGES), params={"priors": "estimate"}), 200)["priors"]["estimated"]


def test_older_models_and_older_graphs_answer_without(client, world):
    for model in (world.model(), world.published_model(reference=REFERENCE, energy=False)):
        path = f"/v1/models/{model['id']}/predictions"
        same(client, path, 200)
        assert "out_of_distribution" not in raw(client, path, png("top")).json()["data"][0]


def probabilities(p):
    return {score["label"]: score["probability"] for score in p["top"]}


def test_given_shares_by_bayes_rule(client, path):
    shares = {"middle": 3, "bottom": 1}
    answer = made(raw(client, path, png("middle"), priors=json.dumps(shares)), 200)
    p_K = np.exp([0, 5.4, 0]) / np.exp([0, 5.4, 0]).sum() * np.array([0, 0.75, 0.25]) / [0.5, 0.25, 0.25]
    expected = dict(zip(CLASSES, p_K / p_K.sum(), strict=True))
    assert probabilities(answer["data"][0]) == pytest.approx(expected, abs=1e-6)
    assert answer["priors"] == {
        "estimated": False,
        "images": 1,
        "reference": {"top": 0.5, "middle": 0.25, "bottom": 0.25},
        "shares": {"top": 0.0, "middle": 0.75, "bottom": 0.25},
    }
    assert answer["data"][0]["out_of_distribution"]["quantile"] == pytest.approx(0.99, abs=1e-4)
    json_form = client.post(path, json=coded([png("middle")]), params={"priors": json.dumps(shares)})
    assert made(json_form, 200) == answer


def test_estimated_shares(client, path):
    answer = made(client.post(path, files=form(IMAGES), params={"priors": "estimate"}), 200)
    assert answer["priors"]["estimated"]
    assert answer["priors"]["images"] == 20
    assert answer["priors"]["shares"] == pytest.approx({"top": 0.6, "middle": 0.3, "bottom": 0.1}, abs=0.02)
    plain = made(client.post(path, files=form(IMAGES)), 200)["data"]
    assert [one["label"] for one in answer["data"]] == [one["label"] for one in plain]
    assert answer["data"][-1]["probability"] < plain[-1]["probability"]  # bottom became rarer than a quarter


@pytest.mark.parametrize(
    ("priors", "said"),
    [
        ("guess", "pattern"),
        ("", "pattern"),
        ("{}", "No class has a share"),
        ('{"top": 0}', "No class has a share"),
        ('{"left": 1}', "no class 'left'"),
        ('{"top": -1}', "greater than or equal"),
        ('{"top": true}', "number"),
        ('{"top": NaN}', "Input should be"),
        ("{top}", "JSON"),
    ],
)
def test_what_are_no_shares(client, path, priors, said):
    answer = raw(client, path, png("top"), priors=priors)
    refused(answer, 422, "invalid_request", "priors")
    assert said in answer.json()["detail"]


def test_shares_are_not_estimated_from_a_few(client, path):
    answer = client.post(path, files=form(IMAGES[1:]), params={"priors": "estimate"})
    refused(answer, 422, "invalid_request", "priors")
    assert "Shares of 3 classes are estimated from 20 images at least, not 19" in answer.json()["detail"]


def test_where_priors_are_not_known(client, world, path):
    for of in (f"models/{world.model()['id']}", f"checkpoints/{world.checkpoint()['id']}"):
        refused(raw(client, f"/v1/{of}/predictions", png("top"), priors="estimate"), 409, "no_reference")
    several = world.published_model(reference=REFERENCE, multi_label=True)
    refused(
        raw(client, f"/v1/models/{several['id']}/predictions", png("top"), priors="estimate"),
        422,
        "invalid_request",
        "priors",
    )
    refused(raw(client, path, png("top"), priors="estimate", adapt="tent"), 422, "invalid_request", "priors")


def test_quantiles_are_those_of_numpy():
    known = np.sort(np.random.default_rng(0).normal(size=101))
    values = np.concatenate([np.linspace(-5, 5, 200), known])
    found = [answering.quantile(float(value), known.tolist()) for value in values]
    np.testing.assert_allclose(found, np.interp(values, known, np.linspace(0, 1, 101)), atol=1e-12)
    ties = [0.0, 1.0, 1.0, 1.0, 2.0]
    assert [answering.quantile(value, ties) for value in (0.0, 0.5, 1.0, 1.5, 2.5)] == [0, 0.125, 0.25, 0.875, 1]
