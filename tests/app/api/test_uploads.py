"""A file in ordered parts, each of which may be sent again."""

import hashlib
import os

import pytest
from sqlalchemy import update

from app.db.session import Database
from app.db.tables import UploadRow
from tests.app.api.server import MIB
from tests.app.api.world import made

PARTS = [os.urandom(200_000), os.urandom(200_000), os.urandom(1)]
WHOLE = b"".join(PARTS)
SHA256 = hashlib.sha256(WHOLE).hexdigest()


def begin(client, **changes):
    return made(client.post("/v1/uploads", json={"filename": "digits.zip"} | changes), 201)


def put(client, upload, number, content):
    return client.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=content)


def complete(client, upload):
    return client.post(f"/v1/uploads/{upload['id']}/complete")


def refused(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


def test_parts_become_a_file(client):
    upload = begin(client, bytes=len(WHOLE), sha256=SHA256)
    assert upload["id"].startswith("upload_")
    assert (upload["object"], upload["parts"], upload["received_bytes"], upload["file"]) == ("upload", 0, 0, None)
    for number, part in enumerate(PARTS, 1):
        received = made(put(client, upload, number, part), 200)
        assert received["parts"] == number
    assert made(client.get(f"/v1/uploads/{upload['id']}"), 200)["received_bytes"] == len(WHOLE)
    file = made(complete(client, upload), 201)
    assert (file["object"], file["filename"], file["sha256"]) == ("file", "digits.zip", SHA256)
    assert client.get(f"/v1/files/{file['id']}").json() == file
    assert made(complete(client, upload), 201) == file  # its answer may have been lost
    assert client.get(f"/v1/uploads/{upload['id']}").json()["file"] == file["id"]
    refused(put(client, upload, 4, b"x"), 409, "conflict")


@pytest.mark.parametrize("parts", [[], [b"alone"], [b"", b"x"]])
def test_few_parts(client, parts):
    upload = begin(client)
    for number, part in enumerate(parts, 1):
        made(put(client, upload, number, part), 200)
    assert made(complete(client, upload), 201)["sha256"] == hashlib.sha256(b"".join(parts)).hexdigest()


def test_the_same_part_may_come_again(client):
    upload = begin(client)
    for number in (1, 1, 2, 1, 2):
        made(put(client, upload, number, PARTS[number - 1]), 200)
    assert client.get(f"/v1/uploads/{upload['id']}").json()["parts"] == 2
    assert made(complete(client, upload), 201)["bytes"] == 400_000


def test_a_wrong_part(client):
    upload = begin(client)
    refused(put(client, upload, 2, b"x"), 409, "wrong_part")
    made(put(client, upload, 1, b"x"), 200)
    refused(put(client, upload, 1, b"y"), 409, "wrong_part")
    refused(put(client, upload, 3, b"y"), 409, "wrong_part")
    for number in ("0", "10001", "x"):
        refused(put(client, upload, number, b"y"), 422, "invalid_request")
    assert made(complete(client, upload), 201)["bytes"] == 1


@pytest.mark.parametrize(("announced", "param"), [({"bytes": 6}, "bytes"), ({"sha256": "0" * 64}, "sha256")])
def test_what_arrived_is_not_what_was_announced(client, announced, param):
    upload = begin(client, **announced)
    made(put(client, upload, 1, b"12345"), 200)
    response = complete(client, upload)
    refused(response, 422, "checksum_mismatch")
    assert response.json()["param"] == param
    assert client.get("/v1/files").json()["data"] == []
    if param == "bytes":  # it may still be put right
        made(put(client, upload, 2, b"6"), 200)
        assert made(complete(client, upload), 201)["bytes"] == 6


def test_an_expired_upload(api, client):
    upload = begin(client)
    made(put(client, upload, 1, b"x"), 200)
    database = Database(api.database_url)
    with database.unit_of_work() as db:
        db.execute(update(UploadRow).where(UploadRow.id == upload["id"]).values(expires_at=1.0))
    database.close()
    refused(put(client, upload, 2, b"x"), 410, "gone")
    refused(complete(client, upload), 410, "gone")
    assert client.delete(f"/v1/uploads/{upload['id']}").status_code == 204


def test_aborted(client):
    upload = begin(client)
    made(put(client, upload, 1, b"x"), 200)
    assert client.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    for response in (put(client, upload, 2, b"x"), complete(client, upload), client.get(f"/v1/uploads/{upload['id']}")):
        refused(response, 404, "not_found")


def test_abort_after_completion_keeps_the_file(client):
    upload = begin(client)
    file = made(complete(client, upload), 201)
    assert client.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert client.get(f"/v1/files/{file['id']}").status_code == 200


def test_too_large(api, client):
    refused(client.post("/v1/uploads", json={"filename": "a", "bytes": 4 * MIB + 1}), 413, "too_large")
    upload = begin(client)
    made(put(client, upload, 1, b"x" * 3 * MIB), 200)
    refused(put(client, upload, 2, b"x" * (MIB + 1)), 413, "too_large")
    refused(put(client, upload, 2, iter([b"x" * (MIB + 1)])), 413, "too_large")
    made(put(client, upload, 2, b"x" * MIB), 200)
    made(put(client, upload, 1, b"x" * 3 * MIB), 200)
    assert made(complete(client, upload), 201)["bytes"] == 4 * MIB
    assert not list((api.home / "blobs" / "tmp").glob("*"))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"filename": None}, "filename"),
        ({"filename": "a", "bytes": -1}, "bytes"),
        ({"filename": "a", "sha256": "A" * 64}, "sha256"),
        ({"filename": "a", "size": 1}, "size"),
        ({"filename": "a\0"}, "filename"),
    ],
)
def test_what_is_refused(client, body, param):
    response = client.post("/v1/uploads", json=body)
    assert (response.status_code, response.json()["param"]) == (422, param)
