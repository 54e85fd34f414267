"""Keys: shown once, an owner and scopes each, revoked at once; and the first of them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from app.db.session import Database
from app.db.tables import IdempotentRequest, KeyRow
from tests.app.api import server as servers
from tests.app.api.world import made, png
from tests.services import until


@pytest.fixture
def admin(api):
    return api.as_owner(api.new_owner(), "read", "write", "predict", "admin")


def create(admin, **changes):
    return made(admin.post("/v1/keys", json={"name": "k"} | changes), 201)


def opens(api, key, path="/v1/jobs"):
    return api.anybody.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_key_is_shown_once(api, admin):
    made_key = create(admin, name="camera", scopes=["predict", "read"])
    assert made_key["object"] == "key"
    assert made_key["id"].startswith("key_")
    assert made_key["scopes"] == ["read", "predict"]
    assert made_key["expires_at"] is None
    assert len(made_key["key"]) > 64
    assert opens(api, made_key["key"])
    (listed, *_) = admin.get("/v1/keys").json()["data"]
    assert listed == admin.get(f"/v1/keys/{made_key['id']}").json() == made_key | {"key": None}


def test_a_key_speaks_for_its_makers_owner_unless_another_is_named(api, admin):
    own, bob = create(admin), create(admin, owner="bob@example.org")
    assert own["owner"] != bob["owner"] == "bob@example.org"
    file = made(api.client(own["key"]).post("/v1/files", content=b"x"), 201)
    assert admin.get(f"/v1/files/{file['id']}").status_code == 200
    assert api.client(bob["key"]).get(f"/v1/files/{file['id']}").status_code == 404


def test_without_scopes_everything_but_administration(admin):
    assert create(admin)["scopes"] == ["read", "write", "predict"]


def test_revoked_at_once_and_gone(api, admin):
    key = create(admin)
    assert opens(api, key["key"])
    assert admin.delete(f"/v1/keys/{key['id']}").status_code == 204
    response = api.anybody.get("/v1/jobs", headers={"Authorization": f"Bearer {key['key']}"})
    assert (response.status_code, response.json()["detail"]) == (401, "This API key was revoked.")
    assert admin.get(f"/v1/keys/{key['id']}").status_code == 404
    assert admin.delete(f"/v1/keys/{key['id']}").status_code == 404
    assert key["id"] not in [one["id"] for one in admin.get("/v1/keys").json()["data"]]


def test_who_made_a_key_for_somebody_else_can_revoke_it(api, admin):
    bob = create(admin, owner="bob", scopes=["read", "admin"])
    assert api.client(bob["key"]).delete(f"/v1/keys/{bob['id']}").status_code == 404  # it is not of bob's making
    assert admin.delete(f"/v1/keys/{bob['id']}").status_code == 204
    assert not opens(api, bob["key"])


def test_an_expired_key_opens_nothing(api, admin):
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    key = create(admin, expires_at=soon.isoformat())
    assert datetime.fromisoformat(key["expires_at"]) == soon
    assert opens(api, key["key"])
    until(lambda: not opens(api, key["key"]), 10)
    response = api.anybody.get("/v1/jobs", headers={"Authorization": f"Bearer {key['key']}"})
    assert response.json()["detail"] == "This API key has expired."


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"owner": "a b"}, "owner"),
        ({"owner": "x" * 65}, "owner"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": 1893456000}, "expires_at"),
        ({"expires_at": "1893456000"}, "expires_at"),
        ({"sha256": "0" * 64}, "sha256"),
    ],
)
def test_what_is_refused(admin, changes, param):
    response = admin.post("/v1/keys", json={"name": "k"} | changes)
    assert (response.status_code, response.json()["param"]) == (422, param)


def test_the_secret_is_stored_nowhere(api, admin):
    """Neither in the row, nor in the answer that is kept for an Idempotency-Key, nor in the log."""
    response = admin.post("/v1/keys", json={"name": "k"}, headers={"Idempotency-Key": "a key"})
    again = admin.post("/v1/keys", json={"name": "k"}, headers={"Idempotency-Key": "a key"})
    assert again.json() == response.json() | {"key": None}
    secret = response.json()["key"]
    database = Database(api.database_url)
    with database.reading() as db:
        stored = [str(vars(row)) for table in (KeyRow, IdempotentRequest) for row in db.scalars(select(table))]
    database.close()
    assert not any(secret[-40:] in row for row in stored)
    assert secret not in api.log.read_text()


def test_the_first_key_is_for_its_owners_eyes(api):
    assert (api.home / "admin.key").stat().st_mode & 0o777 == 0o600
    keys = made(api.root.get("/v1/keys", params={"order": "asc", "limit": 1}), 200)["data"]
    assert keys[0]["scopes"] == ["read", "write", "predict", "admin"]
    assert not list(api.home.glob(".admin.key*"))


def test_several_that_start_at_once_make_one_first_key(each_database, tmp_path):
    database_url = each_database.migrated()
    with ThreadPoolExecutor() as pool:
        apis = list(pool.map(lambda _: servers.Api(tmp_path, database_url), range(3)))
    try:
        for api in apis:
            assert api.root.get("/v1/keys").status_code == 200
        assert len(apis[0].root.get("/v1/keys").json()["data"]) == 1
    finally:
        for api in apis:
            api.close()


def test_whoever_has_the_machine_can_make_a_new_one(each_database, tmp_path):
    with servers.serving(tmp_path, each_database.migrated()) as api:
        (tmp_path / "admin.key").unlink()
        subprocess.run([sys.executable, "-m", "app.keys"], env=api.environment, check=True)
        again = (tmp_path / "admin.key").read_text().strip()
        assert api.client(again).get("/v1/keys").status_code == 200
        assert api.root.get("/v1/keys").status_code == 200


# --- keys that keys have made


def listed(client):
    return {key["id"]: key for key in client.get("/v1/keys", params={"limit": 100}).json()["data"]}


@pytest.fixture
def chain(api, admin):
    """An administrator's key for another owner, one that it made for a third, and what that made."""
    first = create(admin, owner=api.new_owner(), scopes=["read", "admin"])
    second = create(api.client(first["key"]), owner=api.new_owner(), scopes=["read", "admin"])
    third = create(api.client(second["key"]), scopes=["read"])
    return first, second, third


def test_keys_say_which_key_made_them(api, admin, chain):
    first, second, third = chain
    assert (second["made_by"], third["made_by"]) == (first["id"], second["id"])


def test_what_a_revoked_administrator_made_stays_in_sight_and_can_be_revoked(api, admin, chain):
    first, second, third = chain
    assert admin.delete(f"/v1/keys/{first['id']}").status_code == 204
    assert {second["id"], third["id"]} <= set(listed(admin))
    assert opens(api, second["key"])
    assert opens(api, third["key"])
    assert admin.get(f"/v1/keys/{third['id']}").json()["made_by"] == second["id"]
    assert admin.delete(f"/v1/keys/{second['id']}").status_code == 204
    assert not opens(api, second["key"])


def test_a_key_is_revoked_with_all_that_it_made(api, admin, chain):
    apart = create(admin)
    assert admin.delete(f"/v1/keys/{chain[0]['id']}", params={"cascade": True}).status_code == 204
    assert not any(opens(api, key["key"]) for key in chain)
    assert opens(api, apart["key"])
    assert set(listed(admin)) >= {apart["id"]}
    assert not {key["id"] for key in chain} & set(listed(admin))


def test_nobody_sees_keys_of_somebody_above_or_beside(api, admin, chain):
    first, second, _ = chain
    beside = create(admin)
    assert beside["id"] not in listed(api.client(second["key"]))
    assert api.client(second["key"]).delete(f"/v1/keys/{beside['id']}").status_code == 404
    assert api.client(second["key"]).delete(f"/v1/keys/{first['id']}").status_code == 404


# --- rate limits


def statuses(client, count, path="/v1/jobs"):
    return [client.get(path).status_code for _ in range(count)]


def test_no_more_requests_than_the_limit(api, admin):
    limited = api.client(create(admin, rate_limit=5)["key"])
    answers = statuses(limited, 9)
    assert answers[:5] == [200] * 5
    assert 429 in answers  # a test that is slow may be given one more meanwhile
    refused = next(r for r in iter(lambda: limited.get("/v1/jobs"), None) if r.status_code == 429)
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 12
    assert statuses(api.client(create(admin)["key"]), 9) == [200] * 9


def test_the_limit_comes_back_with_time(api, admin):
    limited = api.client(create(admin, rate_limit=120)["key"])
    until(lambda: limited.get("/v1/jobs").status_code == 429, 60)
    until(lambda: limited.get("/v1/jobs").status_code == 200, 60)


def test_predictions_are_counted_too(api, world, admin):
    model = world.model()["id"]
    key = create(admin, owner=world.owner, scopes=["predict"], rate_limit=3)["key"]
    limited, headers = api.client(key), {"Content-Type": "image/png"}
    answers = [limited.post(f"/v1/models/{model}/predictions", content=png("top"), headers=headers) for _ in range(6)]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert 429 in [answer.status_code for answer in answers]


def test_processes_count_together(each_database, tmp_path):
    database_url = each_database.migrated()
    with servers.serving(tmp_path, database_url) as one, servers.serving(tmp_path, database_url) as two:
        key = create(one.root, rate_limit=4)["key"]
        answers = statuses(one.client(key), 3) + statuses(two.client(key), 3)
        assert answers[:4] == [200] * 4
        assert 429 in answers


@pytest.mark.parametrize("limit", [0, -1, True, "60", 1.5, 10**9])
def test_what_is_no_limit(admin, limit):
    response = admin.post("/v1/keys", json={"name": "k", "rate_limit": limit})
    assert (response.status_code, response.json()["param"]) == (422, "rate_limit")
