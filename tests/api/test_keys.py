"""Keys: shown once, an owner and scopes each, revoked at once; and the first of them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from api import server as servers
from api.world import made
from app.db.session import Database
from app.db.tables import IdempotentRequest, Key
from services import until


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
        stored = [str(vars(row)) for table in (Key, IdempotentRequest) for row in db.scalars(select(table))]
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
