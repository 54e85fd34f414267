"""The scripts in examples/, run as a user would."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import archives, digits

pytestmark = pytest.mark.any_database

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(service, cwd, script, *arguments):
    environment = service.environment | {"REGRAFT_URL": service.url, "REGRAFT_KEY": service.client_key}
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"quickstart.py", "plain_httpx.py", "cifar.py"}


def test_quickstart(service, tmp_path):
    mnist, optdigits = tmp_path / "mnist.zip", tmp_path / "optdigits.zip"
    digits.mnist_idx(mnist, 12)
    digits.optdigits_folders(optdigits, 20)
    said = run(service, tmp_path, "quickstart.py", mnist, optdigits)
    assert "Accuracy on 40 test images" in said
    assert len(list(tmp_path.glob("model_*.safetensors"))) == len(list(tmp_path.glob("model_*.onnx"))) == 1


def test_plain_httpx(service, tmp_path):
    digits.optdigits_folders(tmp_path / "optdigits.zip", 30)
    (tmp_path / "digit.png").write_bytes(digits.one_png(5))
    said = run(service, tmp_path, "plain_httpx.py", "optdigits.zip", "digit.png")
    assert "test accuracy" in said
    assert "bytes of weights" in said


@pytest.mark.parametrize("form", ["python", "binary"])
def test_cifar(service, tmp_path, form):
    """The mission's own example: `cnn3` from CIFAR-10 to CIFAR-100, on small archives in their exact form."""
    make10, make100 = getattr(archives, f"cifar10_{form}"), getattr(archives, f"cifar100_{form}")
    ten, hundred = tmp_path / "cifar-10.tar.gz", tmp_path / "cifar-100.tar.gz"
    ten.write_bytes(make10(archives.examples(200, 10), archives.examples(50, 10, seed=1)))
    hundred.write_bytes(make100(archives.examples(300, 100), archives.examples(100, 100, seed=1)))
    said = run(service, tmp_path, "cifar.py", ten, hundred, "--epochs", 2, "--batch-size", 32)
    assert "CIFAR-10 before" in said
    assert "CIFAR-10 after" in said
    assert "of 100 test images" in said
    assert "not measured" not in said
