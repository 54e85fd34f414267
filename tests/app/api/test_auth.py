"""Who may do what: keys, scopes, owners' borders, and the order of things: no byte of a body before the key."""

import socket
import time

import pytest

from tests.app.api.server import Api
from tests.app.api.world import World, made, png

ROUTES = [
    ("read", "GET", "/v1/files"),
    ("read", "GET", "/v1/files/{file}"),
    ("read", "GET", "/v1/uploads/{upload}"),
    ("read", "GET", "/v1/checkpoints"),
    ("read", "GET", "/v1/checkpoints/{checkpoint}"),
    ("read", "GET", "/v1/checkpoints/{checkpoint}/recipe"),
    ("read", "GET", "/v1/checkpoints/{checkpoint}/weights"),
    ("read", "GET", "/v1/datasets"),
    ("read", "GET", "/v1/datasets/{dataset}"),
    ("read", "GET", "/v1/datasets/{dataset}/samples"),
    ("read", "GET", "/v1/jobs"),
    ("read", "GET", "/v1/jobs/{job}"),
    ("read", "GET", "/v1/jobs/{job}/events"),
    ("read", "GET", "/v1/jobs/{job}/metrics"),
    ("read", "POST", "/v1/jobs/preflight"),
    ("read", "GET", "/v1/jobs/preflights/{preflight}"),
    ("read", "GET", "/v1/models"),
    ("read", "GET", "/v1/models/{model}"),
    ("read", "GET", "/v1/models/{model}/weights"),
    ("read", "HEAD", "/v1/models/{model}/weights"),
    ("read", "GET", "/v1/models/{model}/exports/bundle"),
    ("predict", "GET", "/v2/models/{model}"),
    ("predict", "GET", "/v2/models/{model}/ready"),
    ("predict", "POST", "/v2/models/{model}/infer"),
    ("read", "GET", "/v1/models/{model}/recipe"),
    ("read", "GET", "/v1/models/{model}/card"),
    ("read", "GET", "/v1/models/{model}/report"),
    ("read", "GET", "/v1/recommendations"),
    ("read", "GET", "/v1/recommendations/{recommendation}"),
    ("read", "GET", "/v1/recommendations/{recommendation}/events"),
    ("read", "GET", "/v1/recommendations/{recommendation}/outcome"),
    ("read", "GET", "/v1/recommendations/{recommendation}/to_label"),
    ("read", "GET", "/v1/recommendations/{recommendation}/to_label/label_studio"),
    ("read", "GET", "/v1/calibration"),
    ("read", "GET", "/v1/tournaments"),
    ("read", "GET", "/v1/tournaments/{tournament}"),
    ("read", "GET", "/v1/tournaments/{tournament}/events"),
    ("read", "GET", "/v1/sweeps"),
    ("read", "GET", "/v1/sweeps/{sweep}"),
    ("read", "GET", "/v1/sweeps/{sweep}/events"),
    ("read", "GET", "/v1/methods"),
    ("read", "GET", "/v1/networks"),
    ("write", "POST", "/v1/files"),
    ("write", "DELETE", "/v1/files/{file}"),
    ("write", "POST", "/v1/uploads"),
    ("write", "PUT", "/v1/uploads/{upload}/parts/1"),
    ("write", "POST", "/v1/uploads/{upload}/complete"),
    ("write", "DELETE", "/v1/uploads/{upload}"),
    ("write", "POST", "/v1/checkpoints"),
    ("write", "DELETE", "/v1/checkpoints/{checkpoint}"),
    ("write", "POST", "/v1/datasets"),
    ("write", "POST", "/v1/datasets/{dataset}/revisions"),
    ("write", "DELETE", "/v1/datasets/{dataset}"),
    ("write", "POST", "/v1/jobs"),
    ("write", "POST", "/v1/jobs/{job}/cancel"),
    ("write", "POST", "/v1/jobs/{job}/pause"),
    ("write", "POST", "/v1/jobs/{job}/resume"),
    ("write", "POST", "/v1/jobs/{job}/retry"),
    ("write", "DELETE", "/v1/jobs/{job}"),
    ("write", "POST", "/v1/jobs/preflight?measure=true"),
    ("write", "DELETE", "/v1/jobs/preflights/{preflight}"),
    ("write", "DELETE", "/v1/models/{model}"),
    ("write", "POST", "/v1/recommendations"),
    ("write", "POST", "/v1/recommendations/{recommendation}/jobs"),
    ("write", "POST", "/v1/recommendations/{recommendation}/labels"),
    ("write", "DELETE", "/v1/recommendations/{recommendation}"),
    ("write", "POST", "/v1/tournaments"),
    ("write", "POST", "/v1/tournaments/{tournament}/cancel"),
    ("write", "DELETE", "/v1/tournaments/{tournament}"),
    ("write", "POST", "/v1/sweeps"),
    ("write", "POST", "/v1/sweeps/{sweep}/cancel"),
    ("write", "DELETE", "/v1/sweeps/{sweep}"),
    ("predict", "POST", "/v1/models/{model}/predictions"),
    ("predict", "POST", "/v1/models/{model}/embeddings"),
    ("predict", "POST", "/v1/checkpoints/{checkpoint}/predictions"),
    ("admin", "GET", "/v1/keys"),
    ("admin", "GET", "/v1/keys/{key}"),
    ("admin", "POST", "/v1/keys"),
    ("admin", "DELETE", "/v1/keys/{key}"),
]


@pytest.fixture
def ids(api: Api, world: World) -> dict[str, str]:
    """One object of each noun, all of the same owner."""
    model = world.model()
    upload = made(world.client.post("/v1/uploads", json={"filename": "a"}), 201)
    key = made(api.root.post("/v1/keys", json={"name": "k"}), 201)
    checkpoint = world.checkpoint(recipe={"version": 1, "augmentation": []})["id"]
    question = {"dataset": model["dataset"], "checkpoints": [checkpoint]}
    job = {"checkpoint": checkpoint, "dataset": model["dataset"], "method": {"name": "evaluate"}}
    race = {"dataset": world.validated()["id"], "candidates": [{"checkpoint": checkpoint, "method": {"name": "ridge"}}]}
    trials = {
        "job": {"dataset": race["dataset"]} | race["candidates"][0],
        "space": {"method.alpha": [0.1, 1]},
        "trials": 2,
    }
    return {
        "file": world.file()["id"],
        "upload": upload["id"],
        "checkpoint": checkpoint,
        "dataset": model["dataset"],
        "recommendation": made(world.client.post("/v1/recommendations", json=question), 202)["id"],
        "tournament": made(world.client.post("/v1/tournaments", json=race), 202)["id"],
        "sweep": made(world.client.post("/v1/sweeps", json=trials), 202)["id"],
        "job": model["job"],
        "preflight": made(world.client.post("/v1/jobs/preflight?measure=true", json=job), 202)["id"],
        "model": model["id"],
        "key": key["id"],
    }


def body(path: str, ids: dict[str, str]) -> dict:
    """A request that would be answered, were it not for who asks."""
    if path.endswith(("predictions", "embeddings")):
        return {"content": png("top"), "headers": {"Content-Type": "image/png"}}
    if path.startswith("/v1/jobs"):
        return {"json": {"checkpoint": ids["checkpoint"], "dataset": ids["dataset"], "method": {"name": "evaluate"}}}
    if path.endswith(("/revisions", "/labels")):
        return {"json": {"labels": [{"image": "sample_0", "label": "x"}]}}
    if path.startswith("/v1/tournaments"):
        return {"json": {} if path.endswith("/cancel") else {"dataset": ids["dataset"], "candidates": "recommended"}}
    if path.startswith("/v1/sweeps"):
        job = {"checkpoint": ids["checkpoint"], "dataset": ids["dataset"], "method": {"name": "ridge"}}
        return {"json": {} if path.endswith("/cancel") else {"job": job, "space": {"method.alpha": [1]}, "trials": 2}}
    if path.startswith("/v1/recommendations"):
        question = {"dataset": ids["dataset"], "checkpoints": [ids["checkpoint"]]}
        return {"json": {"rank": 1} if path.endswith("/jobs") else question}
    return {"json": {"name": "x", "file": ids["file"], "filename": "x", "network": {"name": "cnn3", "num_classes": 2}}}


def test_every_route_wants_its_own_scope(api, world, ids):
    scopes = ("read", "write", "predict", "admin")
    lacking = {scope: api.as_owner(world.owner, *(other for other in scopes if other != scope)) for scope in scopes}
    for scope, method, path in ROUTES:
        path = path.format(**ids)
        request = body(path, ids) if method in ("POST", "PUT") else {}
        response = lacking[scope].request(method, path, **request)
        assert response.status_code == 403, (method, path)
        if method != "HEAD":
            assert response.json()["code"] == "missing_scope"
            assert f"`{scope}`" in response.json()["detail"]


def test_another_owner_finds_nothing(api, world, ids):
    """404 everywhere, whatever the verb; and nothing was changed by trying."""
    stranger = api.as_owner(api.new_owner(), "read", "write", "predict", "admin")
    before = world.get(f"/v1/jobs/{ids['job']}")
    for _, method, path in ROUTES:
        if "{" not in path:
            continue
        path = path.format(**ids)
        request = body(path, ids) if method in ("POST", "PUT") else {}
        response = stranger.request(method, path, **request)
        assert response.status_code == 404, (method, path, response.text)
    assert world.get(f"/v1/jobs/{ids['job']}") == before


def test_another_owner_cannot_name_what_is_not_theirs(api, world, ids):
    stranger = api.as_owner(api.new_owner())
    network = {"name": "cnn3", "num_classes": 3}
    for path, request, param in (
        ("/v1/datasets", {"name": "x", "file": ids["file"]}, "file"),
        ("/v1/checkpoints", {"name": "x", "file": ids["file"], "network": network}, "file"),
        ("/v1/checkpoints", {"name": "x", "model": ids["model"]}, "model"),
        ("/v1/jobs", {"dataset": ids["dataset"], "method": {"name": "train", "network": network}}, "dataset"),
        ("/v1/recommendations", {"dataset": ids["dataset"]}, "dataset"),
        ("/v1/tournaments", {"dataset": ids["dataset"], "candidates": "recommended"}, "dataset"),
    ):
        response = stranger.post(path, json=request)
        assert (response.status_code, response.json()["param"]) == (404, param)
    for noun in ("files", "datasets", "checkpoints", "jobs", "models", "recommendations", "tournaments", "sweeps"):
        assert stranger.get(f"/v1/{noun}").json()["data"] == []
        assert stranger.get(f"/v1/{noun}", params={"after": ids[noun[:-1]]}).status_code == 422


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic YWRtaW46YWRtaW4=",
        "Bearer nonsense",
        f"Bearer regraft_{'0' * 24}_{'0' * 64}00000000",
        "Bearer " + "x" * 8000,
    ],
)
def test_what_is_no_key_opens_nothing(api, header):
    response = api.anybody.get("/v1/jobs", headers={} if header is None else {"Authorization": header})
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_one_wrong_digit_is_noticed(api, world):
    good = world.client.headers["Authorization"]
    for at in (len("Bearer regraft_"), -30, -1):
        digit = "1" if good[at] == "0" else "0"
        bad = good[:at] + digit + (good[at + 1 :] if at != -1 else "")
        assert api.anybody.get("/v1/jobs", headers={"Authorization": bad}).status_code == 401
    assert api.anybody.get("/v1/jobs", headers={"Authorization": good.replace("Bearer", "bearer")}).status_code == 200


def test_what_needs_no_key_says_nothing_of_anybody(api, world, ids):
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        answer = api.anybody.get(path)
        assert answer.status_code == 200, path
        assert not [name for name in (world.owner, *ids.values()) if name in answer.text], path


def test_everything_else_does(api):
    paths = api.anybody.get("/openapi.json").json()["paths"]
    open_ = {
        (method, path)
        for path, methods in paths.items()
        for method in methods
        if api.anybody.request(method, path).status_code != 401
    }
    assert open_ == {("get", path) for path in ("/healthz", "/readyz", "/metrics")}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/files", "Content-Length: 1000000000000\r\nContent-Type: application/octet-stream"),
        ("/v1/files", "Content-Length: 1000000000000\r\nContent-Type: multipart/form-data; boundary=x"),
        ("/v1/files", "Transfer-Encoding: chunked"),
        ("/v1/jobs", "Content-Length: 1000000000000\r\nContent-Type: application/json"),
        ("/v1/jobs", "Content-Length: 1000\r\nContent-Type: application/json\r\nExpect: 100-continue"),
        ("/v1/models/model_0000/predictions", "Transfer-Encoding: chunked\r\nContent-Type: image/png"),
    ],
)
def test_no_byte_of_the_body_is_waited_for(api, path, headers):
    """Headers alone are sent; the answer is there at once."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as connection:
        begun = time.monotonic()
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode())
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 401 "), answer
        assert time.monotonic() - begun < 2


def test_a_body_that_nobody_reads_does_not_hang_the_client(api):
    response = api.anybody.post("/v1/files", content=b"x" * 3_000_000)
    assert response.status_code == 401
    assert api.anybody.get("/healthz").status_code == 200
