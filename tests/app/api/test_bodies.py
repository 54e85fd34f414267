"""Bodies that no call takes: refused as such, whatever they are, and at a cost that fits them."""

import json
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from sqlalchemy import select

from app.db.tables import IdempotentRequest
from tests.app.api.world import CLASSES, made, png

JSON_CALLS = [
    "/v1/uploads",
    "/v1/checkpoints",
    "/v1/datasets",
    "/v1/jobs",
    "/v1/jobs/preflight",
    "/v1/keys",
    "/v1/models/model_00000000/quantizations",
]


def sent(client, path, content, kind="application/json"):
    return client.post(path, content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize("body", ["[]", "[1]", "[{}]", "1", "0.5", '"name"', "true", "null", "{}"])
@pytest.mark.parametrize("path", JSON_CALLS)
def test_what_is_no_object(api, path, body):
    response = sent(api.root, path, body)
    assert response.status_code in ((201, 404, 422) if body == "{}" else (422,)), response.text


def test_a_large_body_is_read_as_a_small_one(client):
    """Its faults are named alike, as long as they are few."""
    for padding in ("", " " * 20_000):
        body = '{"name": "a", "file": "file_00000000", "seed": -1, "other": 1' + padding + "}"
        response = sent(client, "/v1/datasets", body)
        assert response.status_code == 422
        assert {fault["param"] for fault in response.json()["errors"]} == {"seed", "other"}
        body = json.dumps({"name": "a", "file": "file_00000000"}) + padding
        assert sent(client, "/v1/datasets", body).json()["code"] == "not_found"


def test_faults_without_end_are_not_listed(client):
    body = json.dumps({"name": "a", "file": "file_00000000"} | {f"f{n}": 0 for n in range(4000)})
    assert len(body) < 64 * 1024
    response = sent(client, "/v1/datasets", body)
    assert response.status_code == 422
    assert response.json()["detail"] == "The body has 4,000 faults: too many to list."
    assert len(response.content) < 1000


@pytest.mark.parametrize("boundary", ["b" * 71, "b" * 300, '""', "\xe9" * 200])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/models/{model}/predictions", "/v1/models/{model}/embeddings"])
def test_a_boundary_that_is_none(world, path, boundary):
    kind = f"multipart/form-data; boundary={boundary}".encode("latin-1")
    path = path.replace("{model}", world.model()["id"])
    response = world.client.post(path, content=b"--b", headers={b"Content-Type": kind})
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_large_answers_are_not_kept_for_requests_sent_again(world):
    """They are worked out again; another request under the same key is refused as ever."""
    images = [("images", (f"{n}.png", png(CLASSES[n % 3]))) for n in range(48)]
    path, headers = f"/v1/models/{world.model()['id']}/embeddings", {"Idempotency-Key": "many"}
    first = world.client.post(path, files=images, headers=headers)
    assert len(first.content) > 16 * 1024
    again = world.client.post(path, files=images, headers=headers)
    assert made(again, 200) == made(first, 200)
    assert world.client.post(path, files=images[1:], headers=headers).json()["code"] == "idempotency_mismatch"
    mine = (IdempotentRequest.owner == world.owner, IdempotentRequest.key == "many")
    with world.database.reading() as db:
        (kept,) = db.scalars(select(IdempotentRequest).where(*mine))
    assert kept.answer is None


@pytest.mark.parametrize("epochs", [True, "3", "three"])
def test_only_numbers_are_numbers(world, epochs):
    body = {"dataset": world.dataset()["id"], "method": {"name": "train", "network": {}, "epochs": epochs}}
    response = world.client.post("/v1/jobs", json=body)
    assert response.status_code == 422
    assert "method.epochs" in [fault["param"] for fault in response.json()["errors"]]


NAMES = [
    "R&D",
    "a &lt; b",
    "&#60;b&#62;",
    "*x* _y_",
    "https://example.org",
    "www.example.org",
    "a|b",
    "[a](b)",
    "~~a~~",
]


def test_names_in_a_card_read_as_they_are(world):
    class Plain(HTMLParser):
        said = ""

        def handle_data(self, data):
            self.said += data

    name = " ".join(NAMES)
    model = world.model(dataset=world.dataset(name=name)["id"])
    card = world.client.get(f"/v1/models/{model['id']}/card").text
    page = Plain()
    page.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(card))
    assert name in page.said
    assert "http://" not in card
    assert "https://" not in card
