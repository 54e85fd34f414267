"""What a job says: a list, a stream that goes on where it broke, and series."""

import asyncio
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import insert

from app.core.settings import Settings
from app.db.session import now
from app.db.tables import Metric
from app.main import create_app
from app.queue import service as queue
from app.removal import repository
from tests.app.api import server as servers
from tests.app.api.world import World, made
from tests.services import until

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def job(world):
    job = world.queued_job()["id"]
    world.say(job, "one", "two", "three")
    return job


class Follower:
    """Reads a stream in a thread."""

    def __init__(self, client: httpx.Client, job: str, **headers: str) -> None:
        self.client, self.job, self.headers = client, job, STREAM | headers
        self.lines: list[str] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        with self.client.stream("GET", f"/v1/jobs/{self.job}/events", headers=self.headers) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("text/event-stream")
            self.lines.extend(response.iter_lines())
        self.ended.set()

    @property
    def ids(self) -> list[int]:
        return [int(line.removeprefix("id: ")) for line in self.lines if line.startswith("id: ")]


@contextmanager
def following(client, job, **headers):
    follower = Follower(client, job, **headers)
    yield follower
    follower.thread.join(20)
    assert follower.ended.is_set()


def listed(client, job, **params):
    return made(client.get(f"/v1/jobs/{job}/events", params=params), 200)


def test_a_list_oldest_first(client, job):
    events = listed(client, job)["data"]
    assert [event["message"] for event in events][1:] == ["one", "two", "three"]
    fields = {"id", "seq", "object", "subject", "job", "at", "level", "type", "message", "data"}
    assert all(set(event) == fields and event["subject"] == event["job"] == job for event in events)
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert events[1]["data"] == {"n": 3}
    first = listed(client, job, limit=2)
    assert first["has_more"]
    assert first["data"] + listed(client, job, limit=2, after=first["last_id"])["data"] == events
    assert listed(client, job, order="desc")["data"] == events[::-1]
    assert client.get(f"/v1/jobs/{job}/events", params={"after": "x"}).status_code == 422


def test_a_stream_ends_with_its_job(world, client, job):
    with following(client, job) as follower:
        world.say(job, "four")
        world.finish_job(job)
    events = listed(client, job)["data"]
    assert follower.ids == [event["seq"] for event in events]
    assert events[-1]["type"] == "succeeded"


def test_a_stream_goes_on_after_the_last_event_seen(world, client, job):
    seen = listed(client, job)["data"][1]["seq"]
    world.finish_job(job)
    with following(client, job, **{"Last-Event-ID": str(seen)}) as follower:
        pass
    assert follower.ids == [event["seq"] for event in listed(client, job)["data"] if event["seq"] > seen]
    with following(client, job, **{"Last-Event-ID": str(follower.ids[-1])}) as follower:
        pass
    assert follower.ids == []
    assert client.get(f"/v1/jobs/{job}/events", headers=STREAM | {"Last-Event-ID": "x"}).status_code == 422


def test_events_come_as_they_happen(world, client, job):
    follower = Follower(client, job)
    for number in range(3):
        world.say(job, f"at {time.time()}")
        until(lambda expected=5 + number: len(follower.ids) == expected, 5)
    world.client.post(f"/v1/jobs/{job}/cancel")
    assert follower.ended.wait(5)


def test_a_stream_of_many_events_is_whole(world, client, job):
    world.say(job, *(str(number) for number in range(1200)))
    world.finish_job(job)
    with following(client, job) as follower:
        pass
    assert len(follower.ids) == len(set(follower.ids)) == 4 + 1200 + 1


def test_many_follow_one_job(api, world, client, job):
    followers = [Follower(api.client(client.headers["Authorization"].split()[1]), job) for _ in range(8)]
    world.finish_job(job)
    assert all(follower.ended.wait(20) for follower in followers)
    assert len({tuple(follower.ids) for follower in followers}) == 1


def test_a_job_that_is_deleted_ends_its_stream(world, client, job):
    client.post(f"/v1/jobs/{job}/pause")
    with following(client, job) as follower:
        until(lambda: follower.ids)
        with world.database.unit_of_work() as db:
            queue.forget(db, job)
            repository.remove(db, job)


@pytest.mark.any_database
def test_stopping_the_server_ends_streams(each_database, tmp_path):
    """Politely and soon: a follower connects again, to another process or a new one."""
    with servers.serving(tmp_path, each_database.migrated()) as api:
        world = World(api, "ann", tmp_path)
        follower = Follower(world.client, world.queued_job()["id"])
        until(lambda: follower.ids, 10)
        begun = time.monotonic()
        api.stop()
        assert time.monotonic() - begun < 5
        assert follower.ended.wait(1)
        world.close()


def test_series(world, client, job):
    points = [
        {"job": job, "name": name, "split": split, "step": step, "epoch": step / 10, "value": 1 / step, "at": now()}
        for step in (10, 20, 30)
        for name, split in (("loss", "train"), ("accuracy", "validation"))
    ]
    with world.database.unit_of_work() as db:
        for point in points:
            db.execute(insert(Metric).values(**point))

    def series(**params):
        return made(client.get(f"/v1/jobs/{job}/metrics", params=params), 200)

    everything = series()
    assert (everything["object"], everything["has_more"], len(everything["data"])) == ("list", False, 6)
    assert set(everything["data"][0]) == {"name", "split", "step", "epoch", "value", "at"}
    assert [point["step"] for point in series(name="loss")["data"]] == [10, 20, 30]
    assert len(series(name=["loss", "accuracy"])["data"]) == 6
    assert [point["step"] for point in series(split="validation", after_step=10)["data"]] == [20, 30]
    assert series(name="nothing")["data"] == []
    assert client.get(f"/v1/jobs/{job}/metrics", params={"name": "\0"}).status_code == 422


# --- who may follow, and for how long


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_stream_ends_with_its_key(api, world, job, how):
    soon = datetime.now(UTC) + timedelta(seconds=3)
    body = {"name": "k", "owner": world.owner} | ({"expires_at": soon.isoformat()} if how == "expired" else {})
    key = made(api.root.post("/v1/keys", json=body), 201)
    with api.client(key["key"]).stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as response:
        lines = response.iter_lines()
        assert any(line.startswith("id: ") for line in lines)
        if how == "revoked":
            assert api.root.delete(f"/v1/keys/{key['id']}").status_code == 204
        assert list(lines)  # to its end
    assert world.get(f"/v1/jobs/{job}")["status"] == "queued"


def test_one_owner_does_not_take_all_streams(api, world, job, tmp_path):
    """And what was closed can be opened again."""

    async def run():
        app = create_app(Settings(home=tmp_path, database_url=api.database_url))
        parts = app.state.services
        parts.followers.total = 4
        asgi = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=asgi, base_url="http://test", headers=world.client.headers) as client:
            for _ in range(2):
                assert parts.followers.take(world.owner)
            refused = await client.get(f"/v1/jobs/{job}/events", headers=STREAM)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert int(refused.headers["Retry-After"]) > 0
            assert (await client.get(f"/v1/jobs/{job}/events")).status_code == 200
            parts.followers.give_back(world.owner)
            world.client.post(f"/v1/jobs/{job}/cancel")
            assert (await client.get(f"/v1/jobs/{job}/events", headers=STREAM)).status_code == 200
            assert parts.followers.used == 1
        parts.database.close()

    asyncio.run(run())
