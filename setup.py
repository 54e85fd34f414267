"""What pyproject.toml cannot say: a version names the commit that it was built from, such as `0.1.0+g817255f0a1b2`."""

import os
import subprocess
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """`+g` and the commit, with `.dirty` where files differ from it.

    Where this is no checkout, as in the context of an image, it is told as `SOURCE_COMMIT`, or not known.
    """
    if not (ROOT / ".git").exists():
        return f"+g{told}" if (told := os.environ.get("SOURCE_COMMIT")) else ""
    try:
        dirty = ".dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
        return f"+g{git('rev-parse', '--short=12', 'HEAD')}{dirty}"
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else's
        return ""


if __name__ == "__main__":
    setup(options={"egg_info": {"tag_build": commit()}})
