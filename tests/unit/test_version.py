"""A version that names the commit: in a checkout, in a wheel that was built from one, and none where none is known."""

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAY = "from app.core.version import code_version; print(code_version())"


def git(folder, *arguments):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def said(folder):
    return subprocess.run(
        [sys.executable, "-c", SAY], cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True,
        check=True, timeout=60,
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """A small repository with this code's version."""
    root = tmp_path / "checkout"
    (root / "app" / "core").mkdir(parents=True)
    (root / "app" / "__init__.py").touch()
    (root / "app" / "core" / "__init__.py").touch()
    shutil.copy(ROOT / "app" / "core" / "version.py", root / "app" / "core")
    shutil.copy(ROOT / "setup.py", root)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "regraft"\nversion = "9.9"\n[tool.setuptools.packages.find]\ninclude = ["app*"]\n'
    )
    git(tmp_path, "init", "-q", "checkout")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    return root


def test_a_checkout(checkout):
    version = metadata.version("regraft")
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert said(checkout) == f"{version}+g{commit}"
    (checkout / "notes.txt").write_text("no part of it")
    assert said(checkout) == f"{version}+g{commit}"
    (checkout / "app" / "core" / "__init__.py").write_text("x = 1")
    assert said(checkout) == f"{version}+g{commit}.dirty"


def test_no_repository(checkout):
    """Not even where one is around it."""
    (checkout / ".git").rename(checkout.parent / ".git")
    assert said(checkout) == metadata.version("regraft")


def test_a_wheel(checkout, tmp_path):
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        tmp_path,
        checkout,
    ]
    subprocess.run(command, check=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "elsewhere")
    assert said(tmp_path / "elsewhere") == f"9.9+g{commit}"
