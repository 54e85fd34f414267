"""Predictions without torch: every form of request, in the order sent, and whatever is no image."""

import base64
import hashlib
import io
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.app.api.server import MIB
from tests.app.api.world import CLASSES, SIDE, bar, made, png

IMAGES = [png(name) for name in ("bottom", "top", "middle", "top")]


@pytest.fixture
def model(world):
    return world.model()


@pytest.fixture
def path(model):
    return f"/v1/models/{model['id']}/predictions"


def raw(client, path, image, kind="image/png", **params):
    return client.post(path, content=image, headers={"Content-Type": kind}, params=params)


def form(images):
    return [("images", (f"{number}.png", image, "image/png")) for number, image in enumerate(images)]


def coded(images):
    return {"images": [base64.b64encode(image).decode() for image in images]}


def labels(response):
    return [one["label"] for one in made(response, 200)["data"]]


def test_one_image_as_the_body(client, path):
    answer = made(raw(client, path, png("middle")), 200)
    assert set(answer) == {"object", "data"}
    assert answer["object"] == "list"
    (one,) = answer["data"]
    assert set(one) == {"index", "label", "probability", "top"}
    assert (one["index"], one["label"]) == (0, "middle")
    assert one["probability"] == one["top"][0]["probability"] == pytest.approx(0.991, abs=0.001)
    assert sum(score["probability"] for score in one["top"]) == pytest.approx(1, abs=1e-5)
    assert labels(raw(client, path, png("top"), "application/octet-stream")) == ["top"]
    assert labels(raw(client, path, png("top"), "image/jpeg")) == ["top"]  # the content decides


def test_many_images_in_the_order_sent(client, path):
    expected = ["bottom", "top", "middle", "top"]
    assert labels(client.post(path, files=form(IMAGES))) == expected
    assert labels(client.post(path, json=coded(IMAGES))) == expected
    assert [one["index"] for one in client.post(path, files=form(IMAGES)).json()["data"]] == [0, 1, 2, 3]
    assert labels(client.post(path, files=form(IMAGES * 100))) == expected * 100


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (1000, 3)])
def test_the_likeliest(client, path, top_k, count):
    (one,) = raw(client, path, png("top"), top_k=top_k).json()["data"]
    assert len(one["top"]) == count
    assert one["top"][0]["label"] == "top"
    assert all(a["probability"] >= b["probability"] for a, b in itertools.pairwise(one["top"]))


def test_other_sizes_colours_and_formats_are_fitted(client, path):
    wide = Image.fromarray(bar("bottom")).resize((90, 45)).convert("RGB")
    for kind in ("PNG", "BMP", "GIF", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        wide.save(buffer, kind)
        assert labels(raw(client, path, buffer.getvalue(), f"image/{kind.lower()}")) == ["bottom"]


def test_checkpoints_too(world, client):
    checkpoint = world.checkpoint()
    assert labels(raw(client, f"/v1/checkpoints/{checkpoint['id']}/predictions", png("top"))) == ["top"]


def test_classes_without_names_are_numbered(world, client):
    checkpoint = world.checkpoint(classes=None)
    assert labels(raw(client, f"/v1/checkpoints/{checkpoint['id']}/predictions", png("bottom"))) == ["2"]


def test_embeddings(client, model):
    answer = client.post(f"/v1/models/{model['id']}/embeddings", files=form(IMAGES))
    data = made(answer, 200)["data"]
    assert [set(one) for one in data] == [{"index", "embedding"}] * 4
    assert [len(one["embedding"]) for one in data] == [SIDE * SIDE] * 4
    assert data[1]["embedding"] == [1.0] * 27 + [0.0] * 54


def refused(response, status, code, param=None):
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.json().get("param") == param


def test_what_is_no_image(client, path):
    for content in (b"", b"text", b"<svg/>", png("top")[:50], os.urandom(1000)):
        refused(raw(client, path, content), 422, "invalid_image", "images.0")
    refused(client.post(path, files=form([IMAGES[0], b"x", IMAGES[1]])), 422, "invalid_image", "images.1")
    refused(client.post(path, json=coded([IMAGES[0], b"", b"x"])), 422, "invalid_image", "images.1")
    bomb = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(bomb, "PNG")
    refused(raw(client, path, bomb.getvalue()), 422, "invalid_image", "images.0")
    assert labels(client.post(path, files=form(IMAGES[:1]))) == ["bottom"]  # nobody else suffers


def test_base64_as_people_have_it(client, path):
    """As a data URL, as this API's own samples give images; and in lines of 76 columns, as most encoders wrap it."""
    plain = coded(IMAGES)["images"]
    wrapped = [base64.encodebytes(image).decode() for image in IMAGES]
    assert all("\n" in text.strip() for text in wrapped)
    forms = [[f"data:image/png;base64,{text}" for text in plain], [f"data:;base64,{text}" for text in wrapped], wrapped]
    expected = labels(client.post(path, json={"images": plain}))
    assert [labels(client.post(path, json={"images": form})) for form in forms] == [expected] * 3
    refused(client.post(path, json={"images": ["data:image/png," + plain[0]]}), 422, "invalid_request", "images.0")


def test_tiff_is_read_and_heic_refused_by_the_names_of_what_is(client, path):
    tiff = io.BytesIO()
    Image.open(io.BytesIO(png("middle"))).save(tiff, "TIFF")
    assert labels(raw(client, path, tiff.getvalue())) == ["middle"]
    for content in (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), b"a text", b""):
        answer = raw(client, path, content)
        refused(answer, 422, "invalid_image", "images.0")
        assert "JPEG, PNG, WebP, BMP, GIF or TIFF" in answer.json()["detail"]


def test_what_is_no_request(client, path):
    refused(client.post(path, json={"images": []}), 422, "invalid_request", "images")
    refused(client.post(path, json={"images": ["?"]}), 422, "invalid_request", "images.0")
    refused(client.post(path, json={"images": [1]}), 422, "invalid_request", "images.0")
    refused(client.post(path, json={"image": []}), 422, "invalid_request", "images")
    refused(client.post(path, content=b"{", headers={"Content-Type": "application/json"}), 422, "invalid_request")
    refused(client.post(path, files={"image": ("a", b"x")}), 422, "invalid_request", "images")
    refused(client.post(path, content=b"x", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    refused(client.post(path, content=b"x"), 415, "unsupported_media_type")
    refused(raw(client, path, png("top"), top_k=0), 422, "invalid_request", "top_k")
    refused(raw(client, path, png("top"), top_k=1001), 422, "invalid_request", "top_k")


def test_too_many_and_too_large(client, path):
    assert len(made(client.post(path, files=form(IMAGES * 250)), 200)["data"]) == 1000
    refused(client.post(path, files=form(IMAGES * 250 + IMAGES[:1])), 400, "bad_request")
    refused(client.post(path, json={"images": [""] * 1001}), 422, "invalid_request", "images")
    for kind in ("image/png", "application/json"):
        for content in (b"x" * (MIB + 1), iter([b"x" * (MIB + 1)])):
            refused(raw(client, path, content, kind), 413, "too_large")
    refused(client.post(path, files=form([b"x" * (MIB + 1)])), 413, "too_large")


def test_what_cannot_be_served(world, client):
    model, checkpoint, waiting = (
        world.model(servable=False),
        world.checkpoint(servable=False),
        world.queued_checkpoint(),
    )
    assert not model["servable"]
    assert model["not_servable"] == "ONNX has no such operation."
    for path in (f"/v1/models/{model['id']}/predictions", f"/v1/checkpoints/{checkpoint['id']}/predictions"):
        response = raw(client, path, png("top"))
        refused(response, 409, "not_servable")
        assert response.json()["detail"] == "ONNX has no such operation."
    refused(raw(client, f"/v1/checkpoints/{waiting['id']}/predictions", png("top")), 409, "not_ready")


def test_many_clients_each_get_their_own(api, world, path):
    clients = [api.client(world.client.headers["Authorization"].split()[1]) for _ in range(8)]

    def ask(number):
        name = CLASSES[number % 3]
        return labels(raw(clients[number % 8], path, png(name))) == [name]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_the_graph_is_what_is_downloaded(client, model):
    graph = client.get(f"/v1/models/{model['id']}/weights", params={"format": "onnx"})
    assert hashlib.sha256(graph.content).hexdigest() == graph.headers["ETag"].strip('"')
