"""The API as a process: ready soon, quiet, watched over, refusing what it cannot work with, and never with torch."""

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, text

from app.core.settings import Settings
from app.core.version import code_version
from app.db import schema
from app.db.session import Database
from app.main import create_app
from migrations import commands
from tests.app.api import server as servers
from tests.app.api.world import World, png
from tests.services import until


def start(environment):
    command = [sys.executable, "-m", "app"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=30)


def test_ready_and_watched(api, world, client):
    assert api.anybody.get("/healthz").json() == {"status": "ok"}
    assert api.anybody.get("/readyz").json() == {"status": "ok"}
    world.queued_job()
    client.get("/v1/jobs/job_0000000000")
    client.get("/v1/nothing")
    metrics = api.anybody.get("/metrics").text
    assert 'regraft_requests_total{method="GET",route="/v1/jobs/{id}",status="404"}' in metrics
    assert 'regraft_requests_total{method="any",route="none",status="404"}' in metrics
    assert 'regraft_steps{kind="run",status="queued"}' in metrics
    assert "process_resident_memory_bytes" in metrics


def test_security_headers(api, client):
    for response in (api.anybody.get("/v1/jobs"), client.get("/v1/jobs"), api.anybody.get("/docs")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "Content-Security-Policy" in response.headers
        assert "server" not in response.headers
    assert client.get("/v1/jobs").headers["Cache-Control"] == "private, no-cache"


def test_a_poll_is_two_statements(each_database, tmp_path):
    """The key and the job, each in one."""
    with servers.serving(tmp_path, each_database.migrated()) as api:
        world = World(api, "ann", tmp_path)
        job = world.queued_job()["id"]
        app = create_app(Settings(home=tmp_path, database_url=api.database_url))
        statements: list[str] = []
        event.listen(app.state.services.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
        headers = {"Authorization": world.client.headers["Authorization"]}
        with TestClient(app) as client:
            for path in (f"/v1/jobs/{job}", "/v1/jobs"):
                client.get(path, headers=headers)
                statements.clear()
                assert client.get(path, headers=headers).status_code == 200
                assert len([s for s in statements if s.startswith("SELECT")]) == 2, statements
        world.close()


@pytest.mark.parametrize("fault", ["none", "older", "newer"])
def test_a_database_with_another_schema_is_refused(each_database, tmp_path, fault):
    url = each_database.blank()
    if fault != "none":
        commands.upgrade(url)
        set_revision(url, "0000" if fault == "older" else "9999")
    finished = start(servers.environment(tmp_path, url))
    assert finished.returncode == 1
    assert len(finished.stderr.splitlines()) == 1
    said = {"none": "no schema yet", "older": f"needs {schema.HEAD}", "newer": "install the newer version"}[fault]
    assert said in finished.stderr


def test_a_schema_that_changes_meanwhile_is_told(each_database, tmp_path):
    with servers.serving(tmp_path, each_database.migrated()) as api:
        set_revision(api.database_url, "9999")
        response = api.anybody.get("/readyz")
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert "9999" in response.json()["detail"]
        set_revision(api.database_url, schema.HEAD)
        assert api.anybody.get("/readyz").status_code == 200


@pytest.mark.any_database
def test_blobs_that_are_gone_are_told(each_database, tmp_path):
    with servers.serving(tmp_path, each_database.migrated()) as api:
        (tmp_path / "blobs").rename(tmp_path / "elsewhere")
        assert api.anybody.get("/readyz").status_code == 503
        (tmp_path / "elsewhere").rename(tmp_path / "blobs")
        assert api.anybody.get("/readyz").status_code == 200


def test_without_a_database_it_says_so(tmp_path):
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    finished = start(servers.environment(tmp_path, url))
    assert finished.returncode == 1
    assert "cannot be reached" in finished.stderr


@pytest.mark.any_database
def test_ready_at_little_more_than_its_libraries_take_to_import(each_database, tmp_path):
    """Of processor time, each at the best of three in one run: no absolute figure holds on a shared machine."""
    took, bare = [], []
    with servers.serving(tmp_path, each_database.migrated()) as api:
        for _ in range(3):
            spent = psutil.Process(api.process.pid).cpu_times()
            took.append(spent.user + spent.system)
            api.stop()
            bare.append(cpu_of_imports())
            api.start()
    assert min(took) < 2.5 * min(bare)


def cpu_of_imports() -> float:
    """Seconds that a process takes that imports what the API cannot do without, and nothing of ours."""
    libraries = "import fastapi, uvicorn, sqlalchemy.orm, pydantic_settings, onnxruntime, PIL.Image"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", libraries], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.any_database
def test_stopped_politely(each_database, tmp_path):
    """A request under way is answered; at `warning`, nothing is logged but what went wrong."""
    with servers.serving(tmp_path, each_database.migrated()) as api:

        def slowly():
            yield b"x"
            api.process.terminate()
            time.sleep(0.5)
            yield b"y"

        assert api.root.post("/v1/files", content=slowly()).status_code == 201
        until(lambda: api.process.poll() is not None, 5)
        assert api.log.read_text() == ""


@pytest.mark.any_database
def test_what_is_logged(each_database, tmp_path):
    """Address, start, requests with status and time, and the end; neither keys, queries nor lines of callers' own."""
    with servers.serving(tmp_path, each_database.migrated(), REGRAFT_LOG_LEVEL="info") as api:
        assert api.root.get("/v1/jobs", params={"page_size": 7}).status_code == 200
        assert api.anybody.get("/v1/jobs/job_1%0a2026 forged").status_code == 401
        assert api.root.post("/v1/models/model_0000000000/predictions", content=b"x").status_code == 404
        api.stop()
        lines = [line.split(" api INFO ")[1] for line in api.log.read_text().splitlines()]
        key = api.root.headers["Authorization"].split()[1]
    assert lines[0] == f"Regraft {code_version()} answers at {api.url}"
    assert lines[-1] == "stopping"
    requests = [re.fullmatch(r"127\.0\.0\.1 (\w+ \S+ \d+) [\d.]+ ms", line)[1] for line in lines[1:-1]]
    assert requests == [
        "GET /v1/jobs 200",
        "GET /v1/jobs/job_1%0a2026%20forged 401",
        "POST /v1/models/model_0000000000/predictions 404",
    ]
    assert key not in api.log.read_text()
    assert "page_size" not in api.log.read_text()


def test_the_commit_stands_in_every_lineage(world):
    """As long as the files are as they were when the API started, but for those that are being worked on."""
    told = world.queued_job()["lineage"]["code_version"]
    assert told.removesuffix(".dirty") == code_version().removesuffix(".dirty")
    assert "+g" in told or not (Path(__file__).parents[3] / ".git").exists()


@pytest.mark.any_database
def test_torch_is_never_imported(each_database, tmp_path):
    """Not even to predict: whatever tries, fails."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with servers.serving(tmp_path / "home", each_database.migrated(), PYTHONPATH=path) as api:
        world = World(api, "ann", tmp_path)
        model = world.model()["id"]
        image = {"content": png("top"), "headers": {"Content-Type": "image/png"}}
        assert world.client.post(f"/v1/models/{model}/predictions", **image).status_code == 200
        assert "torch" not in api.log.read_text()
        assert "libtorch" not in Path(f"/proc/{api.process.pid}/maps").read_text()
        world.close()


def set_revision(url, revision):
    database = Database(url)
    with database.unit_of_work() as db:
        db.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    database.close()
