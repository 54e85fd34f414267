"""A copy of the repository in which something new is written as a checklist of CONTRIBUTING.md says, and tried."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.architecture.test_contributing import CHECKLISTS

ROOT = Path(__file__).parents[2]
PARTS = ("app", "worker", "regraft", "migrations", "tests", "docs", "README.md", "pyproject.toml")


@dataclass(frozen=True)
class Copy:
    folder: Path

    @classmethod
    def within(cls, folder: Path) -> Self:
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, folder / part)
        return cls(folder)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def write(self, path: str, text: str) -> None:
        assert not (self.folder / path).exists()
        (self.folder / path).write_text(text)

    def append(self, path: str, text: str) -> None:
        (self.folder / path).write_text(self.read(path) + text)

    def insert(self, path: str, before: str, text: str) -> None:
        """Put `text` in front of the only place where `before` stands."""
        found = self.read(path)
        assert found.count(before) == 1, (path, before)
        (self.folder / path).write_text(found.replace(before, text + before))

    def python(self, *arguments: str, **variables: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(self.folder)} | variables
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def passed(self, chosen: str, *files: str, **variables: str) -> int:
        """How many tests of these files pass, of those that `chosen` chooses as `-k` does; none fails."""
        told = self.python("-m", "pytest", *files, "-k", chosen, **variables)
        return int(told.rpartition(" passed")[0].split()[-1])

    def make_tables(self) -> None:
        self.python("tests/architecture/tables.py")

    def changed(self) -> set[str]:
        """Files that are new, or not what they are in the repository."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        pairs = ((path, ROOT / path.relative_to(self.folder)) for path in paths)
        return {
            str(ours.relative_to(ROOT))
            for path, ours in pairs
            if not ours.exists() or path.read_bytes() != ours.read_bytes()
        }


def listed(thing: str, **blanks: str) -> set[str]:
    """The files to be written by the checklist of a thing, its blanks filled in; each point ends with its files."""
    points = re.findall(r"^- (.+(?:\n  .+)*)", CHECKLISTS[thing], re.M)
    paths = [path for point in points for path in re.findall(r"`([^` ]+)`", re.split(r":\s", point)[-1])]
    return {re.sub(r"<([a-z]+)>", lambda blank: blanks[blank[1]], path) for path in paths}
