"""The benchmark for GPUs runs on PyTorch alone; here on the CPU, for its code and not for its figures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = ("fastapi", "sqlalchemy", "onnx", "onnxruntime", "onnx_ir", "httpx")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({WITHOUT!r})); import gpu; gpu.main()"


@pytest.mark.matrix
def test_it_runs_without_server_or_database():
    options = ["--device", "cpu", "--images", "64", "--batch", "32", "--rounds", "1", "--seconds", "0.2"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, *options],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "engine against the bare loop" in done.stdout
    assert "callers of the batcher" in done.stdout
