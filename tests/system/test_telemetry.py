"""Libraries that report to their makers are silenced: in a fresh home they leave neither an identity nor a queue."""

import os
import subprocess
import sys

import pytest

EXCUSES = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME", "XDG_DATA_HOME")  # they would hide it
OURS = {
    "API": "import app.main",
    "eight bits": "import app.serving.predictor; from openvino import Core; Core()",
    "worker": "import worker.main",
    "steps of the worker": "import worker.executors.preload",
    "PyTorch process": "import worker.torch_server.__main__",
}
BARE = {"ONNX Runtime": "import onnxruntime", "OpenVINO": "from openvino import Core; Core()"}


def left_by(code, home):
    """Files in an empty home after `code`, and what it has open there at its end."""
    silencing = (*EXCUSES, "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    environment = {name: value for name, value in os.environ.items() if name not in silencing} | {"HOME": str(home)}
    code += "\nimport os; print(*(os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    opened = [path for path in done.stdout.split() if path.startswith(str(home))]
    return sorted({str(path) for path in home.rglob("*") if path.is_file()} | set(opened))


@pytest.mark.parametrize("process", OURS)
def test_nothing_is_queued_for_anybody(process, tmp_path):
    assert left_by(OURS[process], tmp_path) == []


@pytest.mark.parametrize("library", BARE)
def test_it_would_be_seen(library, tmp_path):
    """The same look at the libraries alone finds what they keep: should this fail, they may have changed their ways."""
    assert left_by(BARE[library], tmp_path) != []
