"""What pyproject.toml cannot say: a wheel knows the commit that it was built from."""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode and (ROOT / ".git").exists() and (commit := git("rev-parse", "--short=12", "HEAD")):
            dirty = ".dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
            (Path(self.build_lib) / "app" / "core" / "commit.txt").write_text(commit + dirty)


setup(cmdclass={"build_py": BuildPy})
