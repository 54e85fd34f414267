"""The OpenAPI document is what was agreed on, its examples work, and its page needs no other machine.

`make openapi` renews the snapshot, after a change that is meant to change it.  New methods and terms may add
their own entries to what was agreed on, and nothing else.
"""

import asyncio
import copy
import json
import os
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api import examples
from app.core.settings import Settings
from app.main import create_app
from tests.app.api import agreement

SNAPSHOT = Path(__file__).parent / "openapi.json"
METHODS = ("get", "post", "put", "delete")


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    app = create_app(Settings(home=tmp_path_factory.mktemp("home"), database_url="sqlite://"))
    return app.openapi()


@pytest.fixture(scope="module")
def operations(document):
    return [
        (f"{method} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_it_is_what_was_agreed_on(document):
    if os.environ.get("REGRAFT_RENEW_OPENAPI"):
        SNAPSHOT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    agreed = json.loads(SNAPSHOT.read_text())
    assert agreement.without_new(document, agreed) == agreed, "`make openapi` renews the snapshot"


@pytest.mark.parametrize("new", [{"Lora"}, {"RandomForest"}, {"L2Sp"}, {"Lora", "L2Sp"}])
def test_new_methods_and_terms_may_add_their_own_entries(document, new):
    agreed = agreement.without(document, new)
    assert json.dumps(agreed) != json.dumps(document)
    assert agreement.without_new(document, agreed) == agreed


def change_a_field(document):
    document["components"]["schemas"]["FineTune"]["properties"]["momentum"]["default"] = 0.8


def add_a_field(document):
    document["components"]["schemas"]["FineTune"]["properties"]["patience"] = {"type": "integer"}


def remove_a_field(document):
    del document["components"]["schemas"]["FineTune"]["properties"]["momentum"]


def remove_a_method(document):
    document.update(agreement.without(document, {"Dann"}))


def use_the_new_one_elsewhere(document):
    document["components"]["schemas"]["FineTune"]["properties"]["momentum"] = {"$ref": "#/components/schemas/Lora"}


def add_a_path(document):
    document["paths"]["/v1/lora"] = {"get": {}}


@pytest.mark.parametrize(
    "change",
    [change_a_field, add_a_field, remove_a_field, remove_a_method, use_the_new_one_elsewhere, add_a_path],
)
def test_nothing_that_was_agreed_on_changes_with_a_new_method(document, change):
    agreed, changed = agreement.without(document, {"Lora"}), copy.deepcopy(document)
    change(changed)
    assert agreement.without_new(changed, agreed) != agreed


def test_it_is_what_is_served(api, document):
    assert api.anybody.get("/openapi.json").json() == document


def test_nobody_waits_while_it_is_made(tmp_path, monkeypatch):
    """That takes a second, the first time that somebody asks for it, or for a method that a path does not have."""
    app = create_app(Settings(home=tmp_path, database_url="sqlite://"))
    made, in_the_loop = app.openapi, []

    def openapi():
        in_the_loop.append(asyncio._get_running_loop() is not None)
        return made()

    monkeypatch.setattr(app, "openapi", openapi)
    client = TestClient(app)
    assert client.delete("/healthz").headers["Allow"] == "GET"
    assert client.get("/openapi.json").json() == made()
    assert in_the_loop == [False, False]


def test_every_operation_says_what_it_is_and_what_it_refuses(operations):
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    for where, operation in operations:
        assert operation["summary"], where
        assert operation["tags"], where
        if "/v1/" not in where:
            continue
        assert operation["security"] == [{"API key": []}], where
        for status in ("401", "403", "503"):
            assert "application/problem+json" in operation["responses"][status]["content"], where
        if "{id}" in where:
            assert "404" in operation["responses"], where
        if where.startswith("post"):
            assert "Idempotency-Key" in [p["name"] for p in operation["parameters"]], where
            assert "409" in operation["responses"], where


def test_references_lead_somewhere(document):
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in document["components"]["schemas"], name


def test_keys_of_a_given_pattern_are_all_keys(document):
    """Or every other key might be there, with any value."""
    parts: list[object] = [document]
    for part in parts:
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    dicts = [part for part in parts if isinstance(part, dict) and "patternProperties" in part]
    assert dicts
    assert all(part.get("additionalProperties") is False for part in dicts)


@pytest.mark.parametrize(
    ("path", "named", "status"),
    [
        ("/v1/uploads", examples.UPLOAD, 201),
        ("/v1/checkpoints", examples.NEW_CHECKPOINT, 202),
        ("/v1/datasets", examples.NEW_DATASET, 202),
        ("/v1/datasets/{id}/revisions", examples.NEW_REVISION, 202),
        ("/v1/recommendations", examples.RECOMMENDATION, 202),
        ("/v1/jobs", examples.JOB, 202),
        ("/v1/jobs/preflight", examples.JOB, 200),
        ("/v1/keys", examples.NEW_KEY, 201),
    ],
)
def test_examples_work(api, world, document, path, named, status):
    """As they are in the document, once the ids are those of objects of one's own."""
    shown = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert shown == named
    dataset = world.queued_dataset()
    ids = {
        examples.FILE: dataset["file"],
        examples.DATASET: dataset["id"],
        examples.CHECKPOINT: world.checkpoint()["id"],
        examples.MODEL: world.model()["id"],
    }
    client = api.root if path == "/v1/keys" else world.client
    for name, example in shown.items():
        body = json.dumps(example["value"])
        for placeholder, own in ids.items():
            body = body.replace(placeholder, own)
        response = client.post(
            path.format(id=dataset["id"]), content=body, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == status, (name, response.text)


def test_the_page_needs_no_other_machine(api):
    page = api.anybody.get("/docs")
    assert page.status_code == 200
    assert "http:" not in page.text
    assert "https:" not in page.text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3
    for asset in assets:
        assert api.anybody.get(f"/{asset}").status_code == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_the_server_is_where_the_page_looks(api):
    """`openapi.json` beside `/docs`: behind a proxy's prefix too."""
    assert "'openapi.json'" in api.anybody.get("/docs").text
