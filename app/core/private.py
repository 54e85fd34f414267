"""Privacy of what is stored: it is for the eyes of the user that the service runs as; other users of the machine have
none."""

import logging
import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.core.settings import Settings

log = logging.getLogger(__name__)


def keep(settings: Settings) -> None:
    """Keep the files of this process and its children private: those that it makes have mode 600, folders 700.  The
    folders of the home and of the blobs are closed to others if they are not, and so is all within them."""
    os.umask(0o077)
    settings.home.mkdir(parents=True, exist_ok=True)
    blobs = urlsplit(settings.blobs)
    folders = [settings.home, *([Path(unquote(blobs.path))] if blobs.scheme == "file" else [])]
    for path in (
        *(folder.resolve() for folder in folders),
        *(path for path in settings.home.iterdir() if path.is_file()),
    ):
        _close(path)


def _close(path: Path) -> None:
    try:
        status = path.lstat()
        if not stat.S_IMODE(status.st_mode) & 0o077 or stat.S_ISLNK(status.st_mode):
            return
        if status.st_mode & stat.S_ISVTX:  # such as /tmp, which is everybody's
            log.warning("%s is shared with all users of this machine: what is stored in it can be read by them", path)
        else:
            path.chmod(stat.S_IMODE(status.st_mode) & 0o700)
    except FileNotFoundError:
        return
    except OSError as error:  # it belongs to somebody else, who knows why
        log.warning("%s can be read by other users of this machine: %s", path, error)
