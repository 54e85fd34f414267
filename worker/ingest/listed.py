"""Files of an archive, or images of a dataset, by what tables call them."""

import posixpath
import re
import unicodedata
from collections.abc import Collection

NO_IMAGE = re.compile(
    r"\.(csv|tsv|tab|txt|md|json|xml|yaml|yml|html|pdf|py|ipynb|parquet|xlsx?|h5|mat)$", re.IGNORECASE
)
_LOCAL = "/data/local-files/?d="  # in Label Studio before the path of a file that lies where it runs …
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # … and before the name of one that was uploaded


class Files:
    """The files of these names by what tables call them."""

    def __init__(self, names: Collection[str]) -> None:
        self._all = set(names)
        self._by_end: dict[str, list[str]] = {}
        for name in names:
            if not NO_IMAGE.search(name):
                base = name.rpartition("/")[2]
                for end in {base, base.rpartition(".")[0] or base}:
                    self._by_end.setdefault(end, []).append(name)

    def match(self, listed: str, table: str) -> str | None:
        """The file that is meant; None if there is none, or several might be."""
        return self._plainly(listed, table) or self._by_its_end(listed)

    def plain(self, listed: str, table: str) -> bool:
        """Tell whether the path is right as it stands, but perhaps for the suffix."""
        path = _path(listed)
        name = self._plainly(listed, table)
        return name is not None or "/" not in path

    def _plainly(self, listed: str, table: str) -> str | None:
        """A path from the table's folder, or from the top of the archive."""
        for above in (posixpath.dirname(table), ""):
            name = posixpath.normpath(posixpath.join(above, _path(listed)))
            if name in self._all:
                return name
        return None

    def _by_its_end(self, listed: str) -> str | None:
        """The file that has the most parts of the path in common, from its end, if it is the only one."""
        path = [part for part in _path(listed).split("/") if part not in ("", ".")]
        if not path or ".." in path:
            return None
        candidates = self._by_end.get(path[-1]) or self._by_end.get(_UPLOADED.sub("", path[-1]), [])
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        common = {name: _in_common(path[:-1], name.split("/")[:-1]) for name in candidates}
        longest = max(common.values())
        best = [name for name in candidates if common[name] == longest]
        return best[0] if len(best) == 1 else None


def _path(listed: str) -> str:
    path = listed.rpartition(_LOCAL)[2].strip().replace("\\", "/")
    return unicodedata.normalize("NFC", path)


def _in_common(one: list[str], other: list[str]) -> int:
    """Folders that two paths share, counted from their end."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count
