"""What the command shows of objects: verdicts and warnings too; and each fault of a request once."""

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from app.queue import service as queue
from regraft import Client, types
from regraft.cli import checkpoints, datasets, jobs, models
from regraft.cli.online import Session
from tests.app.api.world import EVALUATION

VERDICT = "It did not help: −3.2 points against a network from scratch."
GUARD = {"against": [{"name": "scratch", "difference": -0.032}], "helped": False, "regressions": ["scratch"]}
WARNED = [{"code": "regression", "message": VERDICT}, {"code": "few_labels", "message": "Only six labels."}]


@pytest.fixture
def regraft(world):
    def run(*arguments):
        key = world.client.headers["Authorization"].removeprefix("Bearer ")
        environment = os.environ | {"REGRAFT_URL": world.api.url, "REGRAFT_KEY": key, "COLUMNS": "200"}
        command = [sys.executable, "-m", "regraft", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return run


def test_the_guards_verdict(world, regraft):
    job = world.queued_job()["id"]
    with world.running(job) as (db, task):
        queue.tell(db, task, [{"level": "warning", "type": "regression", "message": VERDICT, "data": {}}])
    world.finish_job(job, evaluation=EVALUATION | {"guard": GUARD | {"verdict": VERDICT}})
    shown = [regraft("jobs", "get", job), regraft("jobs", "watch", job)]
    shown.append(regraft("models", "get", world.get(f"/v1/jobs/{job}")["model"]))
    for each in shown:
        assert each.returncode == 0, each.stderr
        lines = [" ".join(line.split()) for line in each.stdout.splitlines()]
        assert f"verdict {VERDICT}" in lines
        assert "regressions against scratch" in lines
        assert f"warnings {VERDICT} (regression)" in lines


def test_jobs_are_compared_by_what_differs(world, regraft):
    source = world.checkpoint()["id"]
    methods = [{"name": "fine_tune", "epochs": epochs} for epochs in (3, 7)]
    one, other = (world.queued_job(checkpoint=source, method=method)["id"] for method in methods)
    world.finish_job(other)
    done = regraft("compare", one, other, one)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == [one, other]
    assert ["epochs", "3", "7"] in lines
    assert ["status", "queued", "succeeded"] in lines
    assert ["method", "fine_tune", "fine_tune"] in lines
    assert not [line for line in lines if line[0] in ("momentum", "optimizer", "name")], (
        "these are the same, or not there"
    )
    listed = json.loads(regraft("compare", one, other, "--json").stdout)
    assert [job["id"] for job in listed] == [one, other]


def test_a_fault_is_said_once(world, regraft):
    """The sentence of a refusal begins with its first fault."""
    done = regraft("jobs", "create", "train", "--dataset", world.dataset()["id"], "-s", "epochs=-1", "-s", "network=1")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    for param in ("epochs", "network"):
        assert line.count(f"{param}:") == 1, line


@pytest.mark.parametrize(
    ("cli", "record", "document"),
    [
        (checkpoints, types.Checkpoint, {"name": "x", "status": "ready"}),
        (datasets, types.Dataset, {"name": "x", "status": "ready", "format": "auto", "labelled": True}),
        (
            jobs,
            types.Job,
            {"status": "running", "progress": {"fraction": 0.5}, "dataset": "ds_1", "method": {"name": "x"}, "seed": 1},
        ),
        (
            models,
            types.Model,
            {"job": "job_1", "dataset": "ds_1", "network": {"name": "x", "num_classes": 2}, "sha256": "0"},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_warnings_of_every_object(cli, record, document):
    common = {"id": "x_1", "object": "x", "created_at": "2026-01-01T00:00:00Z", "warnings": WARNED}
    out = Console(file=(written := io.StringIO()), width=200)
    with Client("http://127.0.0.1:1", key="k") as client:
        Session(client, False, out, out).show(record.model_validate(common | document), cli.FIELDS)
    shown = written.getvalue()
    assert f"{VERDICT} (regression)" in shown
    assert "Only six labels. (few_labels)" in shown
