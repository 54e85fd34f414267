"""A version that names the commit: in a checkout, in what was built from one, and none where none is known."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.core.version import public_version

ROOT = Path(__file__).parents[3]
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
    """A small repository that is built as this one is."""
    root = tmp_path / "checkout"
    (root / "app" / "core").mkdir(parents=True)
    (root / "app" / "__init__.py").touch()
    (root / "app" / "core" / "__init__.py").touch()
    shutil.copy(ROOT / "app" / "core" / "version.py", root / "app" / "core")
    shutil.copy(ROOT / "setup.py", root)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "regraft-server"\nversion = "9.9"\n[tool.setuptools.packages.find]\ninclude = ["app*"]\n'
    )
    git(tmp_path, "init", "-q", "checkout")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    return root


def built(checkout, folder, **environment):
    """The name of the wheel of a checkout, which lies unpacked in `folder`."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, checkout]
    subprocess.run(command, check=True, timeout=120, env=os.environ | environment)
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(folder)
    return path.name


def test_a_checkout(checkout):
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert said(checkout) == f"{public_version()}+g{commit}"
    (checkout / "notes.txt").write_text("no part of it")
    assert said(checkout) == f"{public_version()}+g{commit}"
    (checkout / "app" / "core" / "__init__.py").write_text("x = 1")
    assert said(checkout) == f"{public_version()}+g{commit}.dirty"


def test_no_repository(checkout):
    """Not even where one is around it."""
    (checkout / ".git").rename(checkout.parent / ".git")
    assert said(checkout) == public_version()


def test_a_wheel(checkout, tmp_path):
    """Its own version says it, whatever lies around the place where it is installed."""
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert built(checkout, tmp_path / "elsewhere") == f"regraft_server-9.9+g{commit}-py3-none-any.whl"
    assert said(tmp_path / "elsewhere") == f"9.9+g{commit}"


def test_a_wheel_of_changed_files(checkout, tmp_path):
    (checkout / "app" / "core" / "__init__.py").write_text("x = 1")
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    built(checkout, tmp_path / "elsewhere")
    assert said(tmp_path / "elsewhere") == f"9.9+g{commit}.dirty"


def test_a_wheel_of_an_image(checkout, tmp_path):
    """Its context holds no repository: the commit is told, or not known."""
    shutil.rmtree(checkout / ".git")
    built(checkout, tmp_path / "told", SOURCE_COMMIT="817255f0a1b2")
    assert said(tmp_path / "told") == "9.9+g817255f0a1b2"
    built(checkout, tmp_path / "untold", SOURCE_COMMIT="")
    assert said(tmp_path / "untold") == "9.9"
