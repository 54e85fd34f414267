"""The layout of folders of images: which names stand for splits, which for classes, and which are passed over."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.imaging.packed import SPLITS
from worker.ingest import naming
from worker.ingest.naming import UNSPLIT, OwnNames
from worker.runtime.contract import Failure, Note

Folder = tuple[str, ...]  # the names on the way to it, from the top

SHOWN = 5  # names in a message


@dataclass(frozen=True)
class FilePlace:
    """The split and the class that a folder's path gives its images; `path` is what is left once splits and wrapping
    are passed over.

    `unlabelled`: its name says that its images have no labels, as `seg_pred` does.
    """

    split: int
    path: Folder
    unlabelled: bool = False

    @property
    def label(self) -> str | None:
        return self.path[0] if self.path else None


@dataclass(frozen=True)
class Layout:
    """`places` of all folders but those beside the images; `notes` say what was not plain."""

    places: dict[Folder, FilePlace]
    notes: list[Note]

    def of(self, folder: Folder) -> FilePlace:
        return self.places.get(folder, _NOWHERE)

    def classes(self) -> set[str]:
        """Names of the folders that stand for a class, whatever is in them."""
        return {place.path[0] for place in self.places.values() if len(place.path) == 1 and not place.unlabelled}


_NOWHERE = FilePlace(UNSPLIT, ())


def lay_out(images: Iterable[Folder], others: Iterable[Folder], own: OwnNames, *, labelled: bool) -> Layout:
    """Judged by the folders of `images`; `others` of the archive, which hold none, are placed likewise.

    Leading folders that hold all others are passed over, numbered parts of one whole too, and within a split a folder
    that repeats its name or only says `images`.

    Raises:
        Failure: `unclear_folders`, the names look like splits, parts or what lies beside images, and not like classes.
    """
    return _Reader(set(images), set(others), own, labelled).layout()


class _Reader:
    def __init__(self, images: set[Folder], others: set[Folder], own: OwnNames, labelled: bool) -> None:
        self._images, self._own, self._labelled = images, own, labelled
        self._rest: dict[Folder, Folder] = {folder: folder for folder in images | others}  # that is still to be read
        self._notes: list[Note] = []

    def layout(self) -> Layout:
        tops = self._pass_over()
        splits = self._splits(tops)
        if splits is None:
            if self._labelled:
                self._require_classes(tops)
            return Layout({folder: FilePlace(UNSPLIT, rest) for folder, rest in self._rest.items()}, self._notes)
        read = ", ".join(f"{name} as {SPLITS[split]}" for name, split in sorted(splits.items()) if split != UNSPLIT)
        self._notes.append(Note("folders_of_splits", f"Folders read as splits: {read}."))
        return Layout(self._places(splits), self._notes)

    def _pass_over(self) -> set[str]:
        """Leave leading folders out, and give those that come next."""
        while True:
            tops = self._tops(self._images)
            deeper = any(len(self._rest[folder]) > 1 for folder in self._images)
            plain = not self._roles(tops)
            if len(tops) == 1 and plain and (deeper or naming.is_wrapping(*tops)):
                self._strip(tops)
            elif naming.are_parts(tops) and plain and (deeper or not self._labelled):
                text = f"The folders {_listed(tops)} are read as parts of one set, not as classes."
                self._notes.append(Note("parts_joined", text, "warning"))
                self._strip(tops)
            else:
                return tops

    def _tops(self, folders: Iterable[Folder]) -> set[str]:
        return {self._rest[folder][0] for folder in folders if self._rest.get(folder)}

    def _strip(self, names: set[str]) -> None:
        """Pass over the folders `names`; what lies beside them has no place."""
        kept = {folder: rest for folder, rest in self._rest.items() if not rest or rest[0] in names}
        self._rest = {folder: rest[1:] for folder, rest in kept.items()}

    def _roles(self, tops: set[str]) -> dict[str, int]:
        splits = naming.splits_of(tops, self._own)
        return {name: split for name, split in splits.items() if split != UNSPLIT}

    def _splits(self, tops: set[str]) -> dict[str, int] | None:
        """The split of each folder, `UNSPLIT` where it says that its images have no labels; None if they are none."""
        splits = self._roles(tops)
        others = tops - set(splits)
        if splits and not others:
            return splits
        if (related := naming.family(tops)) is not None:
            return related
        unlabelled = {name for name in others if naming.is_unlabelled(name)}
        if splits and unlabelled == others:
            return splits | dict.fromkeys(unlabelled, UNSPLIT)
        if len(splits) > 1 or (splits and self._labelled and self._alone_has_folders(*splits)):
            raise _unclear(
                f"Beside folders of splits ({_listed(splits)}) there are others ({_listed(others)}): "
                "leave folders of splits only, or of classes only"
            )
        if splits:
            text = f"The folder {_listed(splits)} is read as a class like {_listed(others)}, not as a split."
            self._notes.append(Note("class_named_like_a_split", text, "warning"))
        return None

    def _alone_has_folders(self, name: str) -> bool:
        holding = {self._rest[folder][0] for folder in self._images if len(self._rest.get(folder, ())) > 1}
        return holding == {name}

    def _require_classes(self, tops: set[str]) -> None:
        """
        Raises:
            Failure: `unclear_folders`.
        """
        wrapping = {name for name in tops if naming.is_wrapping(name)}
        beside = {name for name in tops if naming.is_beside(name)}
        if naming.are_parts(tops):
            raise _unclear(f"The folders {_listed(tops)} look like parts of one set, and hold no folders of classes")
        if len(tops) > 1 and wrapping:
            raise _unclear(f"The folders {_listed(wrapping | beside or tops)} look like no classes")
        spoken = [naming.speaks_of_splits([name]) for name in tops]
        if len(tops) > 1 and all(spoken) and len(set().union(*spoken)) > 1:
            raise _unclear(f"The folders {_listed(tops)} speak of splits and of something else: put one into the other")

    def _places(self, splits: dict[str, int]) -> dict[Folder, FilePlace]:
        places = {}
        for top, split in splits.items():
            own = {folder: rest[1:] for folder, rest in self._rest.items() if rest[:1] == (top,)}
            wrapped = self._wrapped(top, own)
            for folder, rest in own.items():
                within = next(
                    (number for number, name in enumerate(wrapped) if rest[number : number + 1] != (name,)), None
                )
                places[folder] = FilePlace(split, rest[len(wrapped) if within is None else within :], split == UNSPLIT)
            if (
                split == UNSPLIT
                and self._labelled
                and any(places[folder].path for folder in own if folder in self._images)
            ):
                raise _unclear(f"The folder {top} holds folders of classes, but stands beside splits and is none")
        empty = {name: split for name, split in self._roles(self._tops(self._rest)).items() if name not in splits}
        places |= {
            folder: FilePlace(empty[rest[0]], rest[1:])
            for folder, rest in self._rest.items()
            if rest and rest[0] in empty and len(rest) > 1
        }
        return places

    def _wrapped(self, top: str, own: dict[Folder, Folder]) -> list[str]:
        """Folders, each the only one in the one before, that say no more than the split `top` does."""
        passed: list[str] = []
        while True:
            inner = {rest[len(passed) :] for folder, rest in own.items() if folder in self._images}
            names = {rest[0] for rest in inner if rest}
            if len(names) != 1 or not (self._repeats(top, *names) or naming.is_wrapping(*names)):
                return passed
            passed += names

    def _repeats(self, top: str, name: str) -> bool:
        split = naming.split_of(top, self._own)
        return name.lower() == top.lower() or (split != UNSPLIT and naming.split_of(name, self._own) == split)


def _unclear(fault: str) -> Failure:
    return Failure(
        "unclear_folders", f"{fault}. `split_names` says what else splits are called; docs/api.md has the forms."
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:SHOWN]) + (", …" if len(ordered) > SHOWN else "")
