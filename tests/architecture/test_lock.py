"""requirements.lock: every file by its hash, from any index, and all that the distributions ask for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", LOCK, flags=re.M).strip())
PINNED = [Requirement(entry.partition(" \\")[0]) for entry in ENTRIES]


def declared():
    for folder in (".", "server"):
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for dependencies in (project["dependencies"], *project["optional-dependencies"].values()):
            yield from map(Requirement, dependencies)


def test_every_entry_is_one_version_with_its_hashes():
    assert len(ENTRIES) > 100
    for entry in ENTRIES:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ;[^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry


def test_it_names_no_place():
    assert "://" not in LOCK
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK


@pytest.mark.parametrize("requirement", list(declared()), ids=str)
def test_what_is_asked_for_is_there(requirement):
    name = canonicalize_name(requirement.name)
    versions = [next(iter(pinned.specifier)).version for pinned in PINNED if pinned.name == name]
    assert bool(versions) == (name not in ("regraft", "regraft-server"))
    assert all(requirement.specifier.contains(version) for version in versions)
