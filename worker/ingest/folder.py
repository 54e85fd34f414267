"""`folder`: one folder a class, within one a split or not; or, unlabelled, images wherever they lie."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from app.imaging.packed import SPLITS
from worker.ingest import classes, layout
from worker.ingest.archive import Archive
from worker.ingest.layout import FilePlace, Folder, Layout
from worker.ingest.naming import TEST, TRAIN, UNSPLIT
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.runtime.contract import Failure, Note

MAX_LISTS, MAX_LIST_BYTES = 100, 64 * 2**20  # that are read of an archive, together
_LIST = re.compile(r"(^|/)([^/]*annotations?|val|valid|validation|test)(_?(list|map|labels?))?\.txt$", re.IGNORECASE)

_NAMES = re.compile(r"(^|/)(classes|class_names)\.txt$", re.IGNORECASE)


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """The images in the order of their names.

    Where the training split alone has no labels its images stay, without any.

    Raises:
        Failure: `no_images`, `no_labels`, `unclear_folders`, `empty_class`, or of the name of a class.
    """
    lists = [name for name in archive.files if _LIST.search(name)][:MAX_LISTS] if request.labelled else []
    listed = [name for name in archive.files if _NAMES.search(name)] if request.labelled else []
    names = pack.decode(member for member in archive.walk() if member.name not in (*lists, *listed))
    laid_out = lay_out(names, archive.folders, request)
    for note in laid_out.notes:
        pack.tell(note)
    rows = sorted(range(len(names)), key=names.__getitem__)
    places = {row: laid_out.of(_folder(names[row])) for row in rows}
    labels: list[str | None] | None = None
    if request.labelled:
        label = {row: place.label for row, place in places.items()}
        label |= _listed_labels(archive, lists, names, places, pack)
        rows = _kept(rows, names, places, label, pack)
        labels = [label[row] for row in rows]
        classes.require_images(laid_out.classes(), filter(None, labels))
    parsed = classes.parsed(rows, labels, [places[row].split for row in rows], [names[row] for row in rows])
    return _arranged(parsed, archive, listed, request, pack)


def suits(archive: Archive, _: Request) -> bool:
    """Any archive suits: whatever it holds may be images."""
    return not archive.bare


def lay_out(names: Iterable[str], folders: Iterable[str], request: Request) -> Layout:
    """The layout by the names of the images; `folders` are all that the archive has.

    Raises:
        Failure: see `layout.lay_out`.
    """
    others = (tuple(name.split("/")) for name in folders)
    return layout.lay_out(map(_folder, names), others, request.split_names, labelled=bool(request.labelled))


def _listed_labels(
    archive: Archive, lists: Sequence[str], names: Sequence[str], places: dict[int, FilePlace], pack: Pack
) -> dict[int, str | None]:
    """Labels of images without a folder of a class, by lists: a file and its class on each line, as tiny-imagenet and
    ImageNet have them.

    A list counts for the images of its folder and below, if all that it says of them are classes that have folders, or
    the places of such among all, sorted by name.
    """
    known = {place.label for place in places.values() if place.label is not None}
    numbers = {str(number): label for number, label in enumerate(sorted(known))}
    labels: dict[int, str | None] = {}
    contents = archive.read_some(lists, MAX_LIST_BYTES)
    for name in lists:
        above, content = _folder(name), contents.get(name, b"")
        open_rows = {
            names[row].rpartition("/")[2]: row for row, place in places.items() if _is_open(names[row], place, above)
        }
        lines = content.decode("utf-8", "replace").splitlines()
        fields = [line.split("\t") if "\t" in line else line.split() for line in lines]
        listed = {line[0].rpartition("/")[2]: line[1].strip() for line in fields if len(line) > 1}
        labels_of_list = {open_rows[file]: label for file, label in listed.items() if file in open_rows}
        by_number = not known.issuperset(labels_of_list.values())
        if labels_of_list and (not by_number or numbers.keys() >= set(labels_of_list.values())):
            labels |= {row: numbers[label] if by_number else label for row, label in labels_of_list.items()}
            told = f"{len(labels_of_list):,} images have the labels that {name} gives them"
            how = f" by numbers: 0 is {numbers['0']}, and so on by name" if by_number else ""
            pack.tell(Note("labels_listed", f"{told}{how}.", "warning" if by_number else "info"))
        else:
            pack.refuse(name, "It lists no images without labels by classes that have folders.")
    return labels


def _arranged(
    parsed: ParsedDataset, archive: Archive, listed: Sequence[str], request: Request, pack: Pack
) -> ParsedDataset:
    """The dataset with its classes in the order of the list of names beside the folders, if there is one that has them
    all; or with these names, where the folders are called by their places."""
    for name, content in archive.read_some(listed, MAX_LIST_BYTES).items():
        wanted = [line.strip() for line in content.decode("utf-8-sig", "replace").splitlines() if line.strip()]
        try:
            if len(listed) > 1 or request.classes is not None:
                raise Failure("unknown_classes", "There is another list.")
            arranged = classes.arranged(parsed, classes.checked(wanted))
        except Failure:
            pack.refuse(name, "It does not name all classes, or others do: it is not read.")
            continue
        text = f"The classes are named, and in the order, as {name} says: 0 is {wanted[0]}."
        pack.tell(Note("classes_listed", text, "warning"))
        return arranged
    return parsed


def _is_open(name: str, place: FilePlace, above: Folder) -> bool:
    return place.label is None and _folder(name)[: len(above)] == above


def _kept(
    rows: list[int], names: Sequence[str], places: dict[int, FilePlace], label: dict[int, str | None], pack: Pack
) -> list[int]:
    """The images that have a label, and those of a training split where none has, if a test split has.

    Raises:
        Failure: `no_labels`.
    """
    labelled = Counter(places[row].split for row in rows if label[row] is not None)
    bare = Counter(places[row].split for row in rows if label[row] is None) - Counter(dict.fromkeys(labelled, 10**9))
    if not labelled:
        tops = sorted({names[row].partition("/")[0] for row in rows})[: layout.SHOWN]
        raise Failure(
            "no_labels",
            f"No image lies in the folder of a class ({', '.join(tops)} at the top): sort them into folders, add a "
            "table of labels, or pass `labelled`: false.",
        )
    for_tests = bare[TRAIN] > 0 and labelled[TEST] > 0
    if bare[TRAIN] and not for_tests:
        raise Failure(
            "no_labels", f"The {bare[TRAIN]:,} images of the training split have no labels, and no test split has."
        )
    if for_tests:
        text = f"The {bare[TRAIN]:,} training images have no labels: methods that learn from labels cannot use them."
        pack.tell(Note("training_unlabelled", text, "warning", {"count": bare[TRAIN]}))
    for split, count in bare.items():
        if split not in (TRAIN, UNSPLIT):
            text = f"The {count:,} images of the {SPLITS[split]} split have no labels and are set aside."
            pack.tell(Note("split_unlabelled", text, "warning", {"split": SPLITS[split], "count": count}))
    kept = [row for row in rows if label[row] is not None or (for_tests and places[row].split == TRAIN)]
    aside = 0
    for row in sorted(set(rows).difference(kept), key=names.__getitem__):
        aside += places[row].unlabelled
        pack.refuse(names[row], "It lies in no folder of a class.")
    if aside:
        text = f"{aside:,} images lie in folders whose names say that they have no labels, and are set aside."
        pack.tell(Note("images_set_aside", text, "warning", {"count": aside}))
    return kept


def _folder(name: str) -> Folder:
    return tuple(name.split("/")[:-1])
