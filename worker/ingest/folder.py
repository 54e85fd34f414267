"""`folder`: one folder a class, within one a split or not; or, unlabelled, images wherever they lie."""

from collections.abc import Iterable
from dataclasses import dataclass

from worker.engine.contract import Failure
from worker.ingest import classes
from worker.ingest.archive import Archive
from worker.ingest.found import UNSPLIT, Found, Request, split_of
from worker.ingest.pack import Pack

Folder = tuple[str, ...]  # the names on the way to it, from the top


def read(archive: Archive, pack: Pack, request: Request) -> Found:
    """The images in the order of their names.

    Raises:
        Failure: `no_images`, `no_labels`, `unclear_folders`, `empty_class`, or of the name of a class.
    """
    names = pack.decode(archive.walk())
    folders = [_folder(name) for name in names]
    layout = _layout(folders)
    rows = sorted(range(len(names)), key=names.__getitem__)
    labels = None
    if request.labelled:
        labelled = {row: label for row in rows if (label := layout.label(folders[row])) is not None}
        for row in rows:
            if row not in labelled:
                pack.refuse(names[row], "It lies in no folder of a class.")
        rows, labels = list(labelled), list(labelled.values())
        _require_labels(labels)
        classes.require_images(layout.classes(archive.folders), labels)
    return classes.found(rows, labels, [layout.split(folders[row]) for row in rows])


def suits(archive: Archive, _: Request) -> bool:
    """Whatever an archive holds may be images."""
    return not archive.bare


@dataclass(frozen=True)
class _Layout:
    """`root` is the folder that holds all others; then comes the split, where there are `splits`, then the class."""

    root: Folder
    splits: bool

    def split(self, folder: Folder) -> int:
        return split_of(folder[len(self.root)]) if self.splits and len(folder) > len(self.root) else UNSPLIT

    def label(self, folder: Folder) -> str | None:
        return folder[self._depth] if len(folder) > self._depth else None

    def classes(self, names: Iterable[str]) -> set[str]:
        """Those of the folders `names` that stand for a class, whatever is in them."""
        folders = [tuple(name.split("/")) for name in names]
        return {folder[-1] for folder in folders if len(folder) == self._depth + 1 and self._within(folder)}

    def _within(self, folder: Folder) -> bool:
        return folder[: len(self.root)] == self.root and (not self.splits or self.split(folder) != UNSPLIT)

    @property
    def _depth(self) -> int:
        return len(self.root) + self.splits


def _layout(images: Iterable[Folder]) -> _Layout:
    """By the folders of all images: leading folders that hold all others are passed over, unless one is a split."""
    folders = {folder for folder in images if folder}
    depth = 0
    while len(tops := _tops(folders, depth)) == 1 and _tops(folders, depth + 1) and not _splits(tops):
        depth += 1
    splits = _splits(tops)
    if len(splits) > 1 and len(splits) < len(tops):
        raise Failure(
            "unclear_folders",
            f"Beside folders of splits ({_listed(splits)}) there are others ({_listed(tops - splits)}): "
            "leave folders of splits only, or of classes only.",
        )
    root = next((folder[:depth] for folder in folders if len(folder) >= depth), ())
    return _Layout(root, bool(splits) and splits == tops)


def _tops(folders: Iterable[Folder], depth: int) -> set[str]:
    return {folder[depth] for folder in folders if len(folder) > depth}


def _splits(tops: set[str]) -> set[str]:
    return {name for name in tops if split_of(name) != UNSPLIT}


def _folder(name: str) -> Folder:
    return tuple(name.split("/")[:-1])


def _listed(names: set[str], shown: int = 5) -> str:
    return ", ".join(sorted(names)[:shown]) + (", …" if len(names) > shown else "")


def _require_labels(labels: list[str]) -> None:
    if not labels:
        raise Failure(
            "no_labels", "No image lies in the folder of a class: sort them into folders, or pass `labelled`: false."
        )
