"""`csv`: tables of labels beside the images that they list, in one archive.

Read are the files of `worker.ingest.tabular`, the names of columns in `worker.ingest.columns`, images by their path, by
the end of a path of another machine, and without their suffix.  Labels are one an image, or any number: in one
cell with separators, in several lines, or in a column of 0 and 1 for each class.
"""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.imaging.packed import SPLITS
from worker.ingest import cells, classes, columns, folder, naming, tabular, unlabelled
from worker.ingest.archive import Archive
from worker.ingest.columns import Columns
from worker.ingest.listed import NO_IMAGE, Files
from worker.ingest.naming import UNSPLIT
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.ingest.tabular import DELIMITED, LISTS, Record
from worker.runtime.contract import Failure, Note

MAX_TABLES, MAX_TABLE_BYTES = 1000, 256 * 2**20  # that are read of an archive, together
MAX_LISTS = 20  # JSON and text files; where there are more, they are not tables
FEW = 50  # lines that show which column lists images
SHOWN = 5  # names in a message
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SAY = "Say which it is: `columns`: {image, label or labels, split}."
FLAGS = {"0": False, "0.0": False, "1": True, "1.0": True}
ONE_HOT = "_classes.csv"  # Roboflow's name of tables whose images may have several labels

_SUBMISSION = {"submission", "submissions"}

Labels = frozenset[str]


class Line(NamedTuple):
    """A table's entry for an image; no labels where they are not asked for."""

    labels: Labels
    split: int


@dataclass
class Table:
    """A table whose columns are known.  `split` is of all its lines, where a column does not say; `lines` are by the
    names of the archive's files."""

    name: str
    columns: Columns
    header: list[str]
    records: list[Record]
    split: int = UNSPLIT
    lines: dict[str, Line] = field(default_factory=dict)


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """The listed images in the order of their names; others are refused.

    Raises:
        Failure: `wrong_format`, `bad_table`, `missing_files`, `two_labels`, `no_images`, `no_labels`, `empty_class`, or
            of a label.
    """
    files = Files(archive.files)
    chosen, faults = _usable(archive, files, request, folders_too=_folders_of_classes(archive, request))
    if not chosen:
        wrong = Failure(
            "wrong_format", "An archive of the format csv has a table (.csv, .tsv, .json, …); this has none."
        )
        raise next(iter(faults.values()), wrong)
    names = {*faults, *(table.name for table in chosen)}
    for name, fault in faults.items():
        pack.tell(Note("table_set_aside", f"{name} is not read: {fault.message}", "warning"))
    if len(chosen) > 1:
        _join(chosen, request, pack)
    several = any(table.columns.several for table in chosen)
    lines: dict[str, Line] = {}
    for table in chosen:
        _read_lines(table, files, request, pack, several)
        if both := lines.keys() & table.lines.keys():
            raise Failure("two_labels", f"{min(both)} stands in more than one table: leave it in one.")
        lines |= table.lines
    several = _separate(chosen, lines, several, pack) if request.labelled else False
    _tell_of_folders(archive, lines, request, pack)
    for file in archive.files:
        if file not in lines and file not in names:
            pack.refuse(file, f"It is not listed in {_some([table.name for table in chosen])}.")
    stored = pack.decode(member for member in archive.walk() if member.name in lines)
    rows = sorted(range(len(stored)), key=stored.__getitem__)
    listed = [stored[row] for row in rows]
    kept = [lines[name] for name in listed]
    splits = _splits(kept, listed, request, pack)
    if not request.labelled:
        return classes.parsed(rows, None, splits, listed)
    classes.require_images(_named(lines.values()), _named(kept))
    if several:
        return classes.parsed_several(rows, [line.labels for line in kept], splits, listed)
    stay = unlabelled.kept([bool(line.labels) for line in kept], splits, pack.tell)
    labels = [next(iter(kept[place].labels), None) for place in stay]
    return classes.parsed([rows[i] for i in stay], labels, [splits[i] for i in stay], [listed[i] for i in stay])


def suits(archive: Archive, request: Request) -> bool:
    """Tell whether tables list images and their labels; or should, because no folders give any."""
    if archive.bare or not _tables(archive, (*DELIMITED, *LISTS)):
        return False
    folders_too = bool(request.labelled) and _folders_of_classes(archive, request)
    chosen, faults = _usable(archive, Files(archive.files), request, folders_too=folders_too)
    if len(chosen) == 1 or (chosen and _splits_by_name(chosen, request) is not None):
        return True
    if not request.labelled:
        return False
    meant = chosen or any(fault.says_labels for fault in faults.values())
    return bool(request.columns) or (not folders_too and bool(meant))


class _Unusable(Failure):
    """The reason why a table is not read; `says_labels`: it might be meant to say labels; `lists_images`: it does list
    images, of the archive or others."""

    def __init__(self, code: str, message: str, *, says_labels: bool = True, lists_images: bool = False) -> None:
        super().__init__(code, message)
        self.says_labels, self.lists_images = says_labels, lists_images


def _tables(archive: Archive, suffixes: tuple[str, ...]) -> list[str]:
    return [name for name in archive.files if name.lower().endswith(suffixes)]


def _usable(
    archive: Archive, files: Files, request: Request, *, folders_too: bool
) -> tuple[list[Table], dict[str, _Unusable]]:
    """Tables that list images of the archive with what is wanted of them, and why others are none.

    JSON and text files may be anything: they are tables where no other is, nor folders of classes, and where they list
    images.
    """
    usable, faults = _read_tables(archive, _tables(archive, DELIMITED), files, request, folders_too)
    lists = _tables(archive, LISTS)
    if usable or folders_too or len(lists) > MAX_LISTS:
        return usable, faults
    usable, others = _read_tables(archive, lists, files, request, folders_too)
    return usable, faults | {name: fault for name, fault in others.items() if fault.lists_images}


def _read_tables(
    archive: Archive, names: Sequence[str], files: Files, request: Request, folders_too: bool
) -> tuple[list[Table], dict[str, _Unusable]]:
    usable, faults = [], dict[str, _Unusable]()
    contents = archive.read_some(set(names[:MAX_TABLES]), MAX_TABLE_BYTES)
    for name in names:
        try:
            if _SUBMISSION & naming.words(name):
                raise _Unusable("bad_table", f"{name} is what a competition wants to be handed in.", says_labels=False)
            if name not in contents:
                text = f"{name} is beyond the first {MAX_TABLES:,} tables or {MAX_TABLE_BYTES:,} bytes of tables."
                raise _Unusable("bad_table", text, says_labels=False)
            usable.append(table_of(contents.pop(name), name, files, request, folders_too))
        except _Unusable as fault:
            faults[name] = fault
        except Failure as fault:
            faults[name] = _Unusable(fault.code, fault.message)
    return usable, faults


def _folders_of_classes(archive: Archive, request: Request) -> bool:
    """Tell whether the names of files alone would make a dataset of folders."""
    try:
        images = [name for name in archive.files if not NO_IMAGE.search(name)]
        laid_out = folder.lay_out(images, archive.folders, request)
    except Failure:
        return False
    labels = {laid_out.of(_folder(name)).label for name in images}
    return len(labels - {None}) > 1


def _join(chosen: Sequence[Table], request: Request, pack: Pack) -> None:
    """Give each of several tables the split that its name says.

    Raises:
        Failure: `bad_table`, they do not say each another.
    """
    splits = _splits_by_name(chosen, request)
    if splits is None:
        raise Failure(
            "bad_table",
            f"Several tables list images and labels ({_some([table.name for table in chosen])}), and their names do "
            "not say each another split: leave one of them.",
        )
    for table, split in zip(chosen, splits, strict=True):
        table.split = split
    roles = ", ".join(f"{table.name} ({len(table.records):,} lines) as {SPLITS[table.split]}" for table in chosen)
    pack.tell(Note("tables_joined", f"Tables are read together: {roles}."))


def _splits_by_name(chosen: Sequence[Table], request: Request) -> list[int] | None:
    splits = [split_by_name(table.name, request) for table in chosen]
    return splits if UNSPLIT not in splits and len(set(splits)) == len(splits) else None


def split_by_name(name: str, request: Request) -> int:
    """The split of a file by its own name, or by the innermost folder that is called like a split."""
    stem = posixpath.splitext(name)[0]
    own = naming.split_in(stem)
    parts = [naming.split_of(part, request.split_names) for part in stem.split("/")[::-1]]
    return next((split for split in [*parts[:1], own, *parts[1:]] if split != UNSPLIT), UNSPLIT)


# --- one table: its dialect, its columns


def table_of(content: bytes, name: str, files: Files, request: Request, folders_too: bool) -> Table:
    """
    Raises:
        Failure: `bad_table`, it lacks a column; `missing_files`, it lists none of the archive's images.
    """
    header, few = tabular.read(content, name, FEW)
    named = columns.asked(header, request.columns, name)
    image = named.get("image", _image_column(header, few, name, files))
    if image is None:
        raise _Unusable(
            "bad_table",
            f"{name} has no column of images: looked for {columns.wanted(columns.IMAGE)}; found "
            f"{columns.listed(header)}. {SAY}",
        )
    header, records = tabular.read(content, name)  # of tables of images alone: those of pixels have millions of cells
    split = named.get("split", next(iter(columns.candidates(header, columns.SPLIT)), None))
    if not request.labelled:
        table_columns = Columns(image, None, split)
    elif label := named.keys() & {"label", "labels"}:
        table_columns = Columns(image, named[min(label)], split, several="labels" in label)
    else:
        table_columns = _label_columns(header, records, name, image, split, folders_too)
    if records and not any(files.match(record[image], name) is not None for _, record in records):
        examples = _some([record[image][:80] for _, record in records])
        text = f"{name} lists {len(records):,} files in its column {header[image].strip()!r} that the archive lacks"
        pictures = any(record[image].lower().endswith(PICTURES) for _, record in records)
        raise _Unusable("missing_files", f"{text}: {examples}.", lists_images=pictures)
    return Table(name, table_columns, header, records)


def _image_column(header: list[str], records: list[Record], table: str, files: Files) -> int | None:
    """The column of images: of those called so the one that lists most of the archive's files, else any that lists most
    of them."""

    def count(place: int) -> int:
        return sum(files.match(record[place], table) is not None for _, record in records)

    known = columns.candidates(header, columns.IMAGE)
    best = max(known, key=count, default=None)
    if best is None or not count(best):
        return next((place for place in range(len(header)) if 2 * count(place) > len(records)), best)
    return best


def _label_columns(
    header: list[str], records: list[Record], table: str, image: int, split: int | None, folders_too: bool
) -> Columns:
    """The columns of labels, by their names; where there are no folders of classes, also a column of 0 and 1 for each
    class, or the only one.

    Raises:
        Failure: `bad_table`, there is no column of labels, or several that say different things.
    """
    one = [place for place in columns.candidates(header, columns.LABEL) if place != image]
    several = [place for place in columns.candidates(header, columns.LABELS) if place != image]
    if len(one + several) > 1:
        return Columns(image, _one_of_equals(one + several, header, records, table), split)
    if one or several:
        return Columns(image, (one + several)[0], split, several=bool(several))
    rest = [place for place in range(len(header)) if place not in (image, split)]
    roboflows = table.lower().endswith(ONE_HOT)
    if not folders_too or roboflows:
        if records and len(rest) > 1 and all(record[place].strip() in FLAGS for _, record in records for place in rest):
            marked = [sum(FLAGS[record[place].strip()] for place in rest) for _, record in records]
            exclusive = all(count == 1 for count in marked) and not roboflows
            return Columns(image, None, split, several=not exclusive, classes=tuple(rest))
        if records and len(rest) == 1:
            return Columns(image, rest[0], split)
    raise _Unusable(
        "bad_table",
        f"{table} has no column of labels: looked for {columns.wanted(columns.LABEL + columns.LABELS)}, or a column of "
        f"0 and 1 for each class; found {columns.listed(header)}. {SAY}",
        lists_images=True,
    )


def _one_of_equals(places: list[int], header: list[str], records: list[Record], table: str) -> int:
    """The column in words, of those that name the same classes by words and by numbers.

    Raises:
        Failure: `bad_table`, they do not name the same, or some of them hold lists.
    """
    first, lists = places[0], any(char in record[place] for _, record in records for place in places for char in "|;")
    for other in places[1:]:
        pairs = {(record[first], record[other]) for _, record in records}
        if lists or not len({one for one, _ in pairs}) == len({other for _, other in pairs}) == len(pairs):
            names = columns.listed([header[place] for place in places])
            text = f"{table} has several columns of labels that differ: {names}. {SAY}"
            raise _Unusable("bad_table", text, lists_images=True)
    in_words = [place for place in places if not all(record[place].strip().isdigit() for _, record in records)]
    return (in_words or places)[0]


# --- its lines


def _read_lines(table: Table, files: Files, request: Request, pack: Pack, several: bool) -> None:
    """
    Raises:
        Failure: `bad_table`, `missing_files`, `two_labels`.
    """
    places = table.columns
    splits = _splits_of_cells(table, request)
    missing, by_end = [], []
    for number, record in table.records:
        listed = record[places.image]
        name = files.match(listed, table.name)
        if name is None:
            missing.append(listed)
            continue
        if not files.plain(listed, table.name):
            by_end.append((listed, name))
        split = splits[number] if places.split is not None else table.split
        line = Line(labels_of(table, record) if request.labelled else frozenset(), split)
        before = table.lines.setdefault(name, line)
        if line.split != before.split or (line.labels != before.labels and not several):
            hint = "" if several else "; where images have several labels, call the column `labels`"
            raise Failure(
                "two_labels",
                f"Line {number} of {table.name} says something else of {name} than a line before{hint}.",
            )
        table.lines[name] = Line(before.labels | line.labels, line.split)
    if missing:
        names = _some([name[:80] for name in missing])
        raise Failure("missing_files", f"{table.name} lists {len(missing)} files that the archive lacks: {names}.")
    if by_end:
        text = f"{len(by_end):,} images are listed by other paths and were found by their end: {by_end[0][0][:80]} is "
        pack.tell(Note("paths_matched_by_end", f"{text}{by_end[0][1]}.", "warning", {"count": len(by_end)}))


def labels_of(table: Table, record: Sequence[str]) -> Labels:
    """The cell as it is, whatever is in it, none where that is nothing; or the names of the columns that have a 1."""
    places = table.columns
    if places.classes:
        return frozenset(table.header[place].strip() for place in places.classes if FLAGS[record[place].strip()])
    assert places.label is not None
    cell = record[places.label].strip()
    return frozenset([cell]) if cell else frozenset()


def _splits_of_cells(table: Table, request: Request) -> dict[int, int]:
    """The split of each line.

    Raises:
        Failure: `bad_table`, a cell names none.
    """
    place = table.columns.split
    if place is None:
        return {}
    names = {number: record[place].strip() for number, record in table.records}
    known = naming.splits_of(set(names.values()), request.split_names)
    for number, cell in names.items():
        if cell and known[cell] == UNSPLIT:
            fault = f"has the split {cell[:40]!r}: say train, validation or test, or name it in `split_names`"
            raise tabular.bad_line(table.name, number, fault)
    return {number: known[cell] for number, cell in names.items()}


def _splits(lines: Sequence[Line], files: Sequence[str], request: Request, pack: Pack) -> list[int]:
    """The split of each file, as the tables say; where they say nothing of any image, as the images' folders do."""
    if any(line.split != UNSPLIT for line in lines):
        return [line.split for line in lines]
    try:
        laid_out = folder.lay_out(files, (), _unlabelled(request))
    except Failure:
        return [UNSPLIT] * len(files)
    for note in laid_out.notes:
        pack.tell(note)
    return [laid_out.of(_folder(name)).split for name in files]


def _unlabelled(request: Request) -> Request:
    return Request(**{**vars(request), "labelled": False})


# --- several labels in a cell


def _separate(chosen: Sequence[Table], lines: dict[str, Line], several: bool, pack: Pack) -> bool:
    """Part the cells at their separator, in place; gives whether images may have several labels.

    In a column of lists that is the first of `cells.SEPARATORS` that any cell has, or blanks where the words recur as
    labels do.  In a column of one label it is one by which the words recur so, and for blanks only where each word also
    stands alone; else the cells stay whole, and that is said where it may be doubted.
    """
    if any(table.columns.classes for table in chosen):
        return several
    separator = separator_of({cell for line in lines.values() for cell in line.labels}, several, pack.tell)
    if separator is None:
        return several
    for name, line in lines.items():
        lines[name] = Line(cells.each(line.labels, separator), line.split)
    return True


def separator_of(texts: set[str], several: bool, tell: Callable[[Note], object]) -> str | None:
    """The separator of labels in the cells `texts`, see `cells.separator`; what may be doubted of it is told."""
    separator = cells.separator(texts, several)
    if separator is None:
        if not several and (doubtful := cells.doubtful(texts)):
            text = f"Blanks, commas and the like do not separate labels here: {doubtful[:80]!r} is read as one class."
            tell(Note("labels_not_separated", text, "warning"))
    elif separator != "|" or not several:
        example = max(texts, key=lambda cell: len(cells.parted(cell, separator)))
        parts = cells.parted(example, separator)
        text = f"Cells hold several labels, separated by {separator!r}: {example[:80]!r} is {parts}."
        tell(Note("labels_separated", text, "warning", {"separator": separator}))
    return separator


def _tell_of_folders(archive: Archive, lines: dict[str, Line], request: Request, pack: Pack) -> None:
    """Warn where the folders might be classes as well, and other ones than the table's."""
    if not request.labelled or not _folders_of_classes(archive, request):
        return
    laid_out = folder.lay_out(lines, (), _unlabelled(request))
    pairs = {(laid_out.of(_folder(name)).label, line.labels) for name, line in lines.items()}
    if len({one for one, _ in pairs}) == len({other for _, other in pairs}) == len(pairs):
        return
    text = (
        "The labels are the table's; the folders, which might be classes too, do not say the same. `format`: `folder` "
    )
    pack.tell(Note("table_over_folders", f"{text}reads these.", "warning"))


def _folder(name: str) -> tuple[str, ...]:
    return tuple(name.split("/")[:-1])


def _named(lines: Iterable[Line]) -> set[str]:
    return {label for line in lines for label in line.labels}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
