"""Other users of the machine cannot read what is stored, nor what was there before."""

import os
import stat
import subprocess
import sys

import pytest


def started(home, **settings):
    """`private.keep` in a process of its own, which then makes a folder with a file."""
    code = """
from pathlib import Path
from app.core import private
from app.core.settings import Settings
settings = Settings()
private.keep(settings)
(settings.home / "new").mkdir()
(settings.home / "new" / "file").write_text("x")
"""
    environment = os.environ | {"REGRAFT_HOME": str(home)} | settings
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _usual_mask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_is_new_and_what_was_there_before(tmp_path):
    home, blobs = tmp_path / "home", tmp_path / "some blobs"
    (home / "cache").mkdir(parents=True)
    (home / "regraft.db").write_text("x")
    blobs.mkdir()
    assert mode(home) == 0o755
    assert mode(home / "regraft.db") == 0o644
    assert started(home, REGRAFT_BLOB_URL=blobs.as_uri()) == ""
    assert [mode(path) for path in (home, blobs, home / "new")] == [0o700] * 3
    assert [mode(path) for path in (home / "regraft.db", home / "new" / "file")] == [0o600] * 2


def test_a_home_behind_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to("disk")
    started(tmp_path / "home")
    assert mode(tmp_path / "disk") == 0o700


def test_a_folder_that_is_everybodys_stays_so(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o1777)
    assert "shared with all users" in started(home)
    assert mode(home) == 0o777 | stat.S_ISVTX
    assert mode(home / "new" / "file") == 0o600
