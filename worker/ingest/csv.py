"""`csv`: a table `file,label[,split]` beside the images that it lists, in one archive.

With the column `labels` in place of `label` an image has any number of labels: those that its lines name, separated by
`|`; none at all is an example of none of the classes.
"""

import csv
import io
import posixpath
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from worker.engine.contract import Failure
from worker.ingest import classes
from worker.ingest.archive import Archive
from worker.ingest.found import UNSPLIT, Found, Request, split_of
from worker.ingest.pack import Pack

MAX_TABLE_BYTES = 256 * 2**20
HEADER_BYTES = 4096
SHOWN = 5  # names in a message
SEPARATOR = "|"  # of the labels of an image

Labels = frozenset[str]


class Line(NamedTuple):
    """What a line says of an image; no labels where they are not asked for."""

    labels: Labels
    split: int


class Table(NamedTuple):
    """Lines by the names of the archive's files; `several`: an image may have any number of labels."""

    lines: dict[str, Line]
    several: bool


def read(archive: Archive, pack: Pack, request: Request) -> Found:
    """The listed images in the order of their names; others are refused.

    Raises:
        Failure: `wrong_format`, `bad_table`, `missing_files`, `two_labels`, `no_images`, `empty_class`, or of a label.
    """
    found = tables(archive)
    if len(found) != 1:
        raise Failure("wrong_format", f"An archive of the format csv has one .csv file; this one has {len(found)}.")
    [name] = found
    table = _table(archive, name, request.labelled)
    for file in archive.files:
        if file not in table.lines and file != name:
            pack.refuse(file, f"It is not listed in {name}.")
    names = pack.decode(member for member in archive.walk() if member.name in table.lines)
    rows = sorted(range(len(names)), key=names.__getitem__)
    kept = [table.lines[names[row]] for row in rows]
    splits = [line.split for line in kept]
    if not request.labelled:
        return classes.found(rows, None, splits)
    classes.require_images(_named(table.lines.values()), _named(kept))
    if table.several:
        return classes.found_several(rows, [line.labels for line in kept], splits)
    return classes.found(rows, [label for line in kept for label in line.labels], splits)


def tables(archive: Archive) -> list[str]:
    return [name for name in archive.files if name.lower().endswith(".csv")]


def suits(archive: Archive, request: Request) -> bool:
    """Whether the archive has just one table, and that the columns that are needed."""
    found = tables(archive)
    if len(found) != 1:
        return False
    line = archive.read(found[0], MAX_TABLE_BYTES)[:HEADER_BYTES].partition(b"\n")[0].decode("utf-8-sig", "replace")
    return _suffice(_columns(next(csv.reader([line]), [])), request.labelled)


def _named(lines: Iterable[Line]) -> set[str]:
    return {label for line in lines for label in line.labels}


def _table(archive: Archive, table: str, labelled: bool) -> Table:
    files, lines, several = set(archive.files), dict[str, Line](), False
    missing = []
    for number, record in _records(archive, table, labelled):
        name = _file(record["file"], table, files)
        if name is None:
            missing.append(record["file"])
            continue
        several = labelled and "labels" in record
        line = Line(_labels(record) if labelled else frozenset(), _split(record.get("split", ""), table, number))
        before = lines.setdefault(name, line)
        if line.split != before.split or (line.labels != before.labels and not several):
            hint = "" if several else "; where images have several labels, call the column `labels`"
            raise Failure(
                "two_labels", f"Line {number} of {table} says something else of {name} than a line before{hint}."
            )
        lines[name] = Line(before.labels | line.labels, line.split)
    if missing:
        names = ", ".join(name[:80] for name in missing[:SHOWN]) + (", …" if len(missing) > SHOWN else "")
        raise Failure("missing_files", f"{table} lists {len(missing)} files that the archive lacks: {names}.")
    return Table(lines, several)


def _labels(record: Mapping[str, str]) -> Labels:
    """One, whatever it is; or of the column `labels` those that are no blanks."""
    if "labels" not in record:
        return frozenset([record["label"].strip()])
    return frozenset(filter(None, map(str.strip, record["labels"].split(SEPARATOR))))


def _file(listed: str, table: str, files: Container[str]) -> str | None:
    """The file that is meant: a path from the table's folder, or from the top of the archive."""
    path = unicodedata.normalize("NFC", listed.strip().replace("\\", "/"))
    candidates = (posixpath.normpath(posixpath.join(folder, path)) for folder in (posixpath.dirname(table), ""))
    return next((name for name in candidates if name in files), None)


def _records(archive: Archive, table: str, labelled: bool) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line, and its fields by the names of their columns."""
    reader = csv.reader(io.StringIO(_text(archive, table), newline=""), strict=True)
    try:
        columns = _columns(next(reader, []))
        if not _suffice(columns, labelled):
            needed = "`file` and either `label` or `labels`" if labelled else "`file`"
            raise Failure("bad_table", f"The first line of {table} must name the columns {needed}.")
        for record in filter(None, reader):
            if len(record) != len(columns):
                raise _bad_line(table, reader.line_num, f"has {len(record)} fields, not {len(columns)}")
            yield reader.line_num, dict(zip(columns, record, strict=True))
    except csv.Error as error:
        raise _bad_line(table, reader.line_num, f"cannot be read: {error}") from error


def _text(archive: Archive, table: str) -> str:
    try:
        return archive.read(table, MAX_TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Failure("bad_table", f"{table} is not in UTF-8: save it as such.") from None


def _columns(header: list[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _suffice(columns: list[str], labelled: bool) -> bool:
    return "file" in columns and (not labelled or ("label" in columns) != ("labels" in columns))


def _split(text: str, table: str, number: int) -> int:
    split = split_of(text.strip())
    if split == UNSPLIT and text.strip():
        raise _bad_line(table, number, f"has the split {text[:40]!r}: say train, validation or test")
    return split


def _bad_line(table: str, number: int, fault: str) -> Failure:
    return Failure("bad_table", f"Line {number} of {table} {fault}.")
