"""What the OpenAPI document says holds: requests made of it, and against it, are answered as it says.

Every check of schemathesis is made; `asking` has what it does not know of this API.  Three seeds, and with each a third
of the cases that cover the document.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.app.api import server as servers
from tests.app.api.world import SIDE, World

SEEDS = [  # a kind of database, and a seed
    pytest.param(kind, seed, marks=pytest.mark.xdist_group(kind))
    for kind, seed in (("sqlite", 1), ("sqlite", 2), ("postgres", 3))
]
CASES = int(os.environ.get("REGRAFT_SCHEMATHESIS_CASES", "3"))  # of each operation and kind, at random
EVERY = int(os.environ.get("REGRAFT_SCHEMATHESIS_EVERY", "120"))  # of the cases that cover a job, one in so many
LIMIT_S = int(os.environ.get("REGRAFT_SCHEMATHESIS_LIMIT_S", "280"))
PARTS = {  # of the API, by the beginnings of paths
    "checkpoints": "^/v1/checkpoints",
    "jobs and datasets": "^/v1/(jobs|datasets)",
    "races": "^/v1/(tournaments|sweeps)",
    "all else": "^/(?!v1/(checkpoints|jobs|datasets|tournaments|sweeps))",
}
# What is refused by rules beyond a schema (`asking` asks for their documentation), is not there or not in that status
# any more, or is too large for this server, has fitted the schema all the same.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "413", "422", "429"]
# … and what has a query of more than any head may have is refused for that
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "431", "5xx"]
"""


@dataclass(frozen=True)
class Asked:
    """An API with one object of each kind, which are made by the owner of `key`."""

    api: servers.Api
    key: str
    seed: int
    ids: dict[str, str]


@pytest.fixture(scope="module")
def asked(request: pytest.FixtureRequest, each_database, tmp_path_factory) -> Iterator[Asked]:
    seed = request.param
    weights = {"1.weight": np.zeros((3, SIDE * SIDE), np.float32), "1.bias": np.zeros(3, np.float32)}
    folder = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patched, servers.serving(folder / "home", each_database.migrated()) as api:
        patched.setattr("tests.app.api.world.WEIGHTS", save(weights))  # `adapt` builds the network in PyTorch
        world = World(api, "ann", folder)
        known = {"images": 9, "energy": np.linspace(-6, 0, 101).tolist(), "priors": [0.5, 0.25, 0.25]}
        model, checkpoint = world.published_model(servable=seed != 2, reference=known), world.checkpoint()
        ids = {"file": world.file()["id"], "checkpoint": checkpoint["id"], "model": model["id"]}
        ids["dataset"] = model["dataset"]
        yield Asked(api, api.key("ann", "read", "write", "predict", "admin"), seed, ids)
        world.close()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("each_database", "asked"), SEEDS, indirect=True)
def test_answers_are_those_that_are_documented(asked, tmp_path: Path, part):
    """No server error, no answer that is not documented, nothing taken that the document calls invalid, and nothing
    refused that it does not say."""
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "openapi.json").write_bytes(asked.api.anybody.get("/openapi.json").content)
    under_way = tmp_path / "under_way"
    told = {"share": asked.seed - 1, "shares": 3, "every": EVERY, "ids": asked.ids, "under_way": str(under_way)}
    told |= {"document": str(tmp_path / "openapi.json"), "first": 1 + 100_000 * list(PARTS).index(part)}
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.app.api.asking", "PYTHONPATH": path}
    environment |= {"ASKING": json.dumps(told)}
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "config.toml")]
    command += ["run", f"{asked.api.url}/openapi.json", "-H", f"Authorization: Bearer {asked.key}"]
    command += ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-shrink"]
    command += ["--seed", str(asked.seed), "--max-examples", str(CASES), "--include-path-regex", PARTS[part]]
    command += ["--max-response-time", "60", "--request-timeout", "120"]  # the first adapting network waits for PyTorch
    try:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{under_way.read_text()} was asked last, {LIMIT_S} s from the start")
    assert done.returncode == 0, done.stdout + done.stderr + asked.api.log.read_text()
    assert "Tested: " in done.stdout
    assert "Traceback" not in asked.api.log.read_text()
