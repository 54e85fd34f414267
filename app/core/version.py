"""The identity of this code: the version, and the commit where that can be known."""

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 12
GIT_S = 10.0


@cache
def code_version() -> str:
    """`0.1.0+g817255f0a1b2`, with `.dirty` where files differ from that commit; `0.1.0` where no commit is known.

    The first call may ask git, for some milliseconds; it is of the code that was there then.
    """
    commit = _checked_out() if (ROOT / ".git").exists() else _built()
    return f"{public_version()}+{commit}" if commit else public_version()


def public_version() -> str:
    """The version alone, such as `0.1.0`."""
    return _distribution().version.partition("+")[0]


def _checked_out() -> str | None:
    """The commit of the repository whose root this code lies in; not of one that happens to be around it."""
    commit = _git("rev-parse", f"--short={LENGTH}", "HEAD")
    return commit and f"g{commit}" + (".dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _built() -> str | None:
    """The commit that the wheel of this code was built from: `setup.py` puts it into the version."""
    distribution = _distribution()
    of_this_code = Path(str(distribution.locate_file("app"))).resolve() == ROOT / "app"
    return distribution.version.partition("+")[2] or None if of_this_code else None


def _distribution() -> metadata.Distribution:
    try:
        return metadata.distribution("regraft-server")
    except metadata.PackageNotFoundError:  # the code lies beside an installed client
        return metadata.distribution("regraft")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else
        return None
    return done.stdout.strip()
