"""Files: any bytes, streamed and capped, under names that can do no harm."""

import hashlib
import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.app.api import server as servers
from tests.app.api.server import MIB
from tests.app.api.world import made

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def stored(api):
    """Everything in the blob folder, temporary files too."""
    return sorted(path for path in (api.home / "blobs").rglob("*") if path.is_file())


def test_raw_bytes(client):
    file = made(client.post("/v1/files", content=CONTENT, params={"filename": "weights.pt"}), 201)
    assert set(file) == {"id", "object", "created_at", "filename", "bytes", "sha256"}
    assert file["id"].startswith("file_")
    assert (file["object"], file["filename"], file["bytes"]) == ("file", "weights.pt", len(CONTENT))
    assert file["sha256"] == SHA256
    assert file["created_at"].endswith("Z")
    assert client.get(f"/v1/files/{file['id']}").json() == file
    assert client.get("/v1/files").json()["data"] == [file]


def test_any_media_type_is_only_bytes(client):
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/html", "x/y"):
        file = made(client.post("/v1/files", content=b"{", headers={"Content-Type": kind}), 201)
        assert (file["bytes"], file["filename"]) == (1, "file")


def test_a_form(client):
    file = made(client.post("/v1/files", files={"file": ("digits.zip", CONTENT, "application/zip")}), 201)
    assert (file["filename"], file["sha256"]) == ("digits.zip", SHA256)
    named = client.post("/v1/files", files={"file": ("digits.zip", CONTENT)}, params={"filename": "mine.zip"})
    assert named.json()["filename"] == "mine.zip"


def test_an_empty_file_is_a_file(client):
    for request in ({"content": b""}, {"files": {"file": ("", b"")}}, {"files": {"file": ("e", b"")}}):
        file = made(client.post("/v1/files", **request), 201)
        assert (file["bytes"], file["sha256"]) == (0, hashlib.sha256().hexdigest())


def test_a_body_without_a_length(client):
    file = made(client.post("/v1/files", content=iter([CONTENT[:1], CONTENT[1:200_000], CONTENT[200_000:]])), 201)
    assert file["sha256"] == SHA256


def test_equal_content_is_stored_once(api, client):
    content = os.urandom(1000)
    ids = {made(client.post("/v1/files", content=content), 201)["id"] for _ in range(3)}
    assert len(ids) == 3
    assert len([path for path in stored(api) if path.name == hashlib.sha256(content).hexdigest()]) == 1


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"files": [("file", ("a", b"x")), ("file", ("b", b"y"))]}, 422, "invalid_request"),
        ({"files": {"data": ("a", b"x")}}, 422, "invalid_request"),
        ({"files": {"file": ("a", b"x")}, "data": {"more": "y"}}, 422, "invalid_request"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad_request"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "bad_request"),
        ({"content": b"--b--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 422, None),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut sho',
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            400,
            "bad_request",
        ),
        (
            {
                "content": b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nz\r\n--b--\r\n",
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            400,
            "bad_request",
        ),
    ],
)
def test_forms_that_are_refused(api, client, request_, status, code):
    before = len(client.get("/v1/files").json()["data"])
    response = client.post("/v1/files", **request_)
    assert response.status_code == status, response.text
    assert code is None or response.json()["code"] == code
    assert len(client.get("/v1/files").json()["data"]) == before
    assert not list((api.home / "blobs" / "tmp").glob("*"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", "file"),
        ("/", "file"),
        ("C:\\temp\\weights.pt", "weights.pt"),
        ("a\0b.zip", "ab.zip"),
        ("a\r\nSet-Cookie: x.zip", "a Set-Cookie: x.zip"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\u200f\u2066weights\u2069.pt", "weights.pt"),
        (".hidden", "hidden"),
        ("  spaced   out .zip ", "spaced out .zip"),
        ("größe 数字.zip", "größe 数字.zip"),
        ("x" * 300 + ".safetensors", "x" * 243 + ".safetensors"),
        ("y" * 300, "y" * 255),
        ("", "file"),
    ],
)
def test_names_are_kept_to_be_shown_and_nothing_else(api, client, given, kept):
    before = stored(api)
    content = os.urandom(8)
    file = made(client.post("/v1/files", content=content, params={"filename": given}), 201)
    assert file["filename"] == kept
    assert client.get(f"/v1/files/{file['id']}").json()["filename"] == kept
    (new,) = set(stored(api)) - set(before)
    assert new.name == hashlib.sha256(content).hexdigest()


def test_the_name_in_a_form_is_cleaned_too(client):
    assert made(client.post("/v1/files", files={"file": ("../a\u202e.zip", b"x")}), 201)["filename"] == "a.zip"


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_is_refused_and_leaves_nothing(api, client, announced):
    before = stored(api)
    content = b"x" * (4 * MIB + 1)
    response = client.post("/v1/files", content=content if announced else iter([content]))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert stored(api) == before
    assert client.get("/v1/files").json()["data"] == []
    assert made(client.post("/v1/files", content=content[:-1]), 201)["bytes"] == 4 * MIB


def test_a_broken_connection_leaves_nothing(api, client):
    before = stored(api)
    connection = http.client.HTTPConnection("127.0.0.1", api.port)
    headers = {"Authorization": client.headers["Authorization"], "Content-Length": str(3 * MIB)}
    connection.request("POST", "/v1/files", body=b"x" * (2 * MIB), headers=headers)
    time.sleep(0.2)  # until most of it is there
    connection.close()
    time.sleep(0.2)
    assert stored(api) == before
    assert client.get("/v1/files").json()["data"] == []


@pytest.mark.any_database
def test_a_disk_that_would_be_full(each_database, tmp_path):
    with servers.serving(tmp_path, each_database.migrated(), REGRAFT_MIN_FREE_BYTES=str(2**60)) as api:
        response = api.root.post("/v1/files", content=b"x")
        assert (response.status_code, response.json()["code"]) == (507, "storage_full")
        assert stored(api) == []
        assert api.root.get("/readyz").status_code == 200


def test_many_at_once(client):
    def upload(number):
        return made(client.post("/v1/files", content=bytes([number]) * 100_000), 201)["sha256"]

    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(upload, range(24)))
    assert digests == [hashlib.sha256(bytes([n]) * 100_000).hexdigest() for n in range(24)]
