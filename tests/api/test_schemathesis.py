"""What the OpenAPI document says holds: requests made of it, and against it, are answered as it says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from api import server as servers
from api.world import SIDE, World

SEEDS = {"sqlite": (1, 2), "postgres": (3,)}
CASES = 3  # of each operation and kind
BEYOND = "positive_data_acceptance"  # rules between fields, and what is not there, are beyond a schema


@pytest.mark.parametrize("at", [0, 1])
def test_answers_are_those_that_are_documented(each_database, tmp_path: Path, monkeypatch, at):
    """No server error, no answer that is not documented, nothing taken that the document calls invalid."""
    seeds = SEEDS[each_database.kind]
    if at >= len(seeds):
        pytest.skip("two of the three seeds are on SQLite, one is on Postgres")
    weights = {"1.weight": np.zeros((3, SIDE * SIDE), np.float32), "1.bias": np.zeros(3, np.float32)}
    monkeypatch.setattr("api.world.WEIGHTS", save(weights))  # `adapt` builds the network in PyTorch
    with servers.serving(tmp_path / "home", each_database.migrated()) as api:
        world = World(api, "ann", tmp_path)
        world.model(servable=at == 0)
        world.checkpoint()
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"]
        command += ["-H", f"Authorization: Bearer {api.key('ann', 'read', 'write', 'predict', 'admin')}"]
        command += ["--checks", "all", "--exclude-checks", BEYOND, "--phases", "fuzzing", "--continue-on-failure"]
        command += ["--seed", str(seeds[at]), "--max-examples", str(CASES), "--no-shrink"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
        world.close()
        assert done.returncode == 0, done.stdout + done.stderr + api.log.read_text()
        assert "Tested: " in done.stdout
        assert "Traceback" not in api.log.read_text()
