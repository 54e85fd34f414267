"""One envelope for all lists; pages are whole, without gaps or repeats, while objects come and go."""

import pytest

from tests.app.api.world import made

ENVELOPE = {"object", "data", "first_id", "last_id", "has_more"}


@pytest.fixture
def files(world):
    """Oldest first."""
    return [world.file(bytes([number])) for number in range(11)]


def pages(client, path, **params):
    """All entries, page by page."""
    after, found = {}, []
    while True:
        page = made(client.get(path, params=params | after), 200)
        assert set(page) == ENVELOPE
        data = page["data"]
        assert (page["first_id"], page["last_id"]) == ((data[0]["id"], data[-1]["id"]) if data else (None, None))
        found += data
        if not page["has_more"]:
            return found
        assert len(data) == params.get("limit", 20)
        after = {"after": page["last_id"]}


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 11, 12, 100])
def test_pages_are_the_whole_list(client, files, limit):
    assert pages(client, "/v1/files", limit=limit, order="asc") == files
    assert pages(client, "/v1/files", limit=limit, order="desc") == files[::-1]
    assert pages(client, "/v1/files", limit=limit) == files[::-1]


def test_the_default_is_twenty(world, client):
    for number in range(21):
        world.file(bytes([number]))
    page = client.get("/v1/files").json()
    assert (len(page["data"]), page["has_more"]) == (20, True)


def test_what_comes_and_goes_meanwhile_moves_nothing(world, client, files):
    first = client.get("/v1/files", params={"limit": 4}).json()
    world.file(b"newer")
    assert client.delete(f"/v1/files/{files[0]['id']}").status_code == 204
    assert client.delete(f"/v1/files/{first['data'][0]['id']}").status_code == 204
    rest = pages(client, "/v1/files", limit=4)
    assert [one["id"] for one in rest if one["bytes"] == 1] == [one["id"] for one in files[9:0:-1]]
    on = client.get("/v1/files", params={"limit": 4, "after": first["last_id"]}).json()
    assert [one["id"] for one in on["data"]] == [one["id"] for one in files[6:2:-1]]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "file_0000000000"}, "after"),
        ({"after": "\0"}, "after"),
        ({"after": "x" * 1000}, "after"),
    ],
)
def test_what_is_refused(client, params, param):
    for noun in ("files", "checkpoints", "datasets", "jobs", "models"):
        response = client.get(f"/v1/{noun}", params=params)
        assert (response.status_code, response.json()["param"]) == (422, param), noun


def test_methods_and_networks_are_lists_like_any_other(world, client):
    methods = pages(client, "/v1/methods", limit=1)
    assert {"train", "evaluate", "fine_tune", "linear_probe"} <= {method["name"] for method in methods}
    assert methods == pages(client, "/v1/methods") == pages(client, "/v1/methods", order="desc")[::-1]
    for method in methods:
        assert set(method) >= {"id", "object", "name", "summary", "needs", "when", "reference", "parameters"}
        assert method["parameters"]["properties"]["name"]["const"] == method["name"]
    assert pages(client, "/v1/networks") == []


def test_jobs_are_filtered(world, client):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    tuned = world.queued_job(checkpoint=checkpoint["id"], dataset=dataset["id"], method={"name": "fine_tune"})
    probed = world.finished_job(checkpoint=checkpoint["id"], method={"name": "linear_probe"})
    trained = world.queued_job()
    world.fail(trained["id"])

    def ids(noun="jobs", **params):
        return [one["id"] for one in client.get(f"/v1/{noun}", params=params).json()["data"]]

    assert ids() == [trained["id"], probed["id"], tuned["id"]]
    assert ids(status="queued") == [tuned["id"]]
    assert ids(status=["failed", "succeeded"]) == [trained["id"], probed["id"]]
    assert ids(method="linear_probe") == [probed["id"]]
    assert ids(checkpoint=checkpoint["id"], status="queued") == [tuned["id"]]
    assert ids(dataset=dataset["id"]) == [tuned["id"]]
    assert ids("models", checkpoint=checkpoint["id"]) == [probed["model"]]
    assert ids("models", method="fine_tune") == []
    assert ids("models", dataset=probed["dataset"], method="linear_probe") == [probed["model"]]
    for wrong in ({"status": "done"}, {"method": "\0"}, {"checkpoint": "no id"}):
        assert client.get("/v1/jobs", params=wrong).status_code == 422


def test_checkpoints_and_datasets_are_filtered_by_readiness(world, client):
    ready, waiting, broken = world.dataset(), world.queued_dataset(), world.queued_dataset()
    world.fail(broken["id"], "not_an_archive")
    for status, dataset in (("ready", ready), ("processing", waiting), ("failed", broken)):
        found = client.get("/v1/datasets", params={"status": status}).json()["data"]
        assert [one["id"] for one in found] == [dataset["id"]]
    assert client.get("/v1/checkpoints", params={"status": "ready"}).json()["data"] == []
    assert client.get("/v1/datasets", params={"status": "queued"}).status_code == 422


def test_who_polls_is_told_when_nothing_has_changed(world, client):
    job = world.queued_job()["id"]
    for path in (f"/v1/jobs/{job}", "/v1/jobs?limit=5"):
        first = client.get(path)
        assert first.headers["Cache-Control"] == "private, no-cache"
        for tags in (first.headers["ETag"], f"W/{first.headers['ETag']}", f'"x", {first.headers["ETag"]}', "*"):
            again = client.get(path, headers={"If-None-Match": tags})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["ETag"] == first.headers["ETag"]
        assert client.get(path, headers={"If-None-Match": '"x"'}).content == first.content
        assert client.post(f"/v1/jobs/{job}/cancel" if path.endswith(job) else f"/v1/jobs/{job}/retry").is_success
        changed = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (changed.status_code, changed.headers["ETag"] == first.headers["ETag"]) == (200, False)
    assert "ETag" not in client.get("/v1/jobs/job_nobody").headers
