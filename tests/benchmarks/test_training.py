"""What the training benchmark runs without packages of its own, at its smallest: its code, not its figures."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MORE = partial(pytest.param, marks=pytest.mark.matrix)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def folder(tmp_path):
    """Ten shades under noise in the place of Fashion-MNIST."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        label_N = random.integers(0, 10, 256)
        pixels_NHWC = (25 * label_N[:, None, None, None] + random.integers(0, 20, (256, 28, 28, 1))).astype(np.uint8)
        np.savez(tmp_path / f"{split}.npz", pixels_NHWC=pixels_NHWC, label_N=label_N)
    return tmp_path


def printed(script, *options, asked=""):
    """The documents that it prints, one a line."""
    command = [sys.executable, ROOT / "benchmarks/peers" / f"{script}.py", *map(str, options)]
    done = subprocess.run(
        command, env=ENVIRONMENT, input=asked, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("bare", []),
        ("with_regraft", ["--resized"]),
        MORE("bare", ["--task", "resnet18"]),
        MORE("with_regraft", ["--task", "empty", "--plain"]),
        MORE("with_pil", ["--resized"]),
        MORE("path", ["--path", "ours"]),
        MORE("path", ["--path", "pil"]),
    ],
    ids=str,
)
def test_a_peer_says_how_long_its_epochs_took(folder, script, options):
    found = printed(script, "--folder", folder, "--epochs", 2, "--steps", 2, *options, asked="go\n" * 3)
    assert len([line for line in found if line.get("wall_s", 0) > 0]) == 2
    assert "accuracy" in found[-1]


def test_the_script_and_ours_reach_one_accuracy(folder):
    [found] = printed("script", "--folder", folder, "--steps", 2, "--seed", 0)
    assert found["ours"]["accuracy"] >= found["script"]["accuracy"]
