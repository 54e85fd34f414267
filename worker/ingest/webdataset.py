"""`webdataset`: an image and its label side by side under one key, `0001.jpg` and `0001.cls` or `0001.json`.

A key is a path up to the first dot of the file's name.  `.cls` holds the class as text, most often a number; of a
`.json` without one beside it the first of `LABELS` that is a text or a whole number counts.
"""

import json
from collections.abc import Iterable

from worker.ingest import classes, layout
from worker.ingest.archive import Archive
from worker.ingest.naming import UNSPLIT
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.runtime.contract import Failure

LABELS = ("class_name", "label_name", "label", "cls", "class", "class_id", "label_id", "target")
SIDES = (".cls", ".cls.txt", ".json")  # of which the first that a key has counts
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".img")
MAX_SIDE_BYTES = 256 * 2**20  # of all that stands beside images, together
FEW = 3  # images, at least, of which most have something beside them


def suits(archive: Archive, _: Request) -> bool:
    """Tell whether most images have something beside them that is a label, by the first of these."""
    if archive.bare:
        return False
    sides = _sides(archive.files)
    pictures = [key for key, suffix in map(_parts, archive.files) if suffix in PICTURES]
    beside = [sides[key] for key in pictures if key in sides]
    if len(pictures) < FEW or 2 * len(beside) <= len(pictures):
        return False
    try:
        return any(_label(name, content) for name, content in archive.read_some(beside[:FEW], MAX_SIDE_BYTES).items())
    except Failure:
        return False


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """The images in the order of their names; splits are those of the folders, if they are called so.

    Raises:
        Failure: `no_labels`, `bad_table`, `no_images`, or of the name of a class.
    """
    sides = _sides(archive.files)
    stored = pack.decode(member for member in archive.walk() if _parts(member.name)[1] in PICTURES)
    others = [name for name in archive.files if _parts(name)[1] not in (*PICTURES, *SIDES)]
    for name in others:
        pack.refuse(name, "It is neither an image nor a label.")
    rows = sorted(range(len(stored)), key=stored.__getitem__)
    labels: list[str | None] | None = None
    if request.labelled:
        contents = archive.read_some(set(sides.values()), MAX_SIDE_BYTES)
        label = {key: _label(name, contents[name]) for key, name in sides.items() if name in contents}
        unlabelled = [row for row in rows if label.get(_parts(stored[row])[0]) is None]
        for row in unlabelled:
            pack.refuse(stored[row], f"No label stands beside it: {', '.join(SIDES)}.")
        rows = [row for row in rows if row not in set(unlabelled)]
        labels = [label[_parts(stored[row])[0]] for row in rows]
        if not rows:
            wanted = ", ".join(f"`{name}`" for name in LABELS)
            raise Failure("no_labels", f"No image has a label beside it: `.cls`, or in a `.json` one of {wanted}.")
    names = [stored[row] for row in rows]
    return classes.parsed(rows, labels, _splits(names, request, pack), names)


def _parts(name: str) -> tuple[str, str]:
    """The key, and what stands behind it, in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return folder + slash + stem, (dot + suffix).lower()


def _sides(names: Iterable[str]) -> dict[str, str]:
    """Choose for each key the file that gives its label."""
    sides: dict[str, str] = {}
    for name in sorted(names, key=lambda name: SIDES.index(suffix) if (suffix := _parts(name)[1]) in SIDES else -1):
        key, suffix = _parts(name)
        if suffix in SIDES:
            sides.setdefault(key, name)
    return sides


def _label(name: str, content: bytes) -> str | None:
    text = content.decode("utf-8", "replace").strip()
    if not name.lower().endswith(".json"):
        return text or None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure("bad_table", f"{name} is no JSON: {error}.") from error
    said = [document.get(field) for field in LABELS] if isinstance(document, dict) else [document]
    return next((str(value) for value in said if isinstance(value, str | int)), None)


def _splits(names: list[str], request: Request, pack: Pack) -> list[int]:
    folders = [tuple(name.split("/")[:-1]) for name in names]
    try:
        laid_out = layout.lay_out(folders, (), request.split_names, labelled=False)
    except Failure:
        return [UNSPLIT] * len(names)
    for note in laid_out.notes:
        pack.tell(note)
    return [laid_out.of(folder).split for folder in folders]
