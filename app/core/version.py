"""Which code this is: the version, and the commit where that can be known."""

import json
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMIT = Path(__file__).with_name("commit.txt")  # written when a wheel is built from a checkout
LENGTH = 12
GIT_S = 10.0


@cache
def code_version() -> str:
    """`0.1.0+g817255f0a1b2`, with `.dirty` where files differ from that commit; `0.1.0` where no commit is known.

    The first call may ask git, for some milliseconds; it is of the code that was there then.
    """
    commit = _checked_out() or _built() or _installed()
    return metadata.version("regraft") + (f"+g{commit}" if commit else "")


def _checked_out() -> str | None:
    """From the repository whose root this code lies in; not one that happens to be around it."""
    if not (ROOT / ".git").exists():
        return None
    commit = _git("rev-parse", f"--short={LENGTH}", "HEAD")
    return commit and commit + (".dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _built() -> str | None:
    return COMMIT.read_text().strip() or None if COMMIT.exists() else None


def _installed() -> str | None:
    """From what pip notes of a package that it fetched from a repository (PEP 610)."""
    noted = metadata.distribution("regraft").read_text("direct_url.json")
    commit = json.loads(noted).get("vcs_info", {}).get("commit_id") if noted else None
    return commit and str(commit)[:LENGTH]


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else
        return None
    return done.stdout.strip()
