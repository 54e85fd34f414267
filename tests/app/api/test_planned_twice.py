"""A job is planned when it is asked for and when a worker starts it; its method crosses as the object that it is."""

import pickle
from collections import Counter
from typing import Any

from app.jobs import planning
from app.jobs import service as jobs
from app.jobs.planning import Request
from app.methods.registry import parse
from tests.app.api.world import NETWORK


def test_from_the_request_to_the_worker_it_is_planned_twice_and_read_once(world: Any, monkeypatch: Any) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            calls[name] += 1
            return function(*given)

        return call

    monkeypatch.setattr(planning, "resolve", counted("planned", planning.resolve))
    monkeypatch.setattr(jobs, "parse_method", counted("read", parse))
    method = parse({"name": "train", "network": NETWORK})
    request = Request(None, world.dataset()["id"], None, method, 0)
    with world.database.unit_of_work() as db:
        job = jobs.create(db, world.owner, request, name=None, metadata={}).job.id
    with world.database.unit_of_work() as db:
        prepared = jobs.prepare(db, job)
        assert jobs.stored(db, job).method == prepared.spec.method.document()
    assert pickle.loads(pickle.dumps(prepared.spec)) == prepared.spec  # as it crosses to the child
    assert calls == {"planned": 2, "read": 1}
