"""`csv`: a table `file,label[,split]` beside the images that it lists, in one archive."""

import csv
import io
import posixpath
import unicodedata
from collections.abc import Container, Iterator
from typing import NamedTuple

from worker.engine.contract import Failure
from worker.ingest import classes
from worker.ingest.archive import Archive
from worker.ingest.found import UNSPLIT, Found, Request, split_of
from worker.ingest.pack import Pack

MAX_TABLE_BYTES = 256 * 2**20
HEADER_BYTES = 4096
SHOWN = 5  # names in a message


class Line(NamedTuple):
    """What the table says of an image; `label` is empty where labels are not asked for."""

    label: str
    split: int


def read(archive: Archive, pack: Pack, request: Request) -> Found:
    """The listed images in the order of their names; others are refused.

    Raises:
        Failure: `wrong_format`, `bad_table`, `missing_files`, `two_labels`, `no_images`, `empty_class`, or of a label.
    """
    found = tables(archive)
    if len(found) != 1:
        raise Failure("wrong_format", f"An archive of the format csv has one .csv file; this one has {len(found)}.")
    [table] = found
    lines = _lines(archive, table, request.labelled)
    for name in archive.files:
        if name not in lines and name != table:
            pack.refuse(name, f"It is not listed in {table}.")
    names = pack.decode(member for member in archive.walk() if member.name in lines)
    rows = sorted(range(len(names)), key=names.__getitem__)
    kept = [lines[names[row]] for row in rows]
    labels = [line.label for line in kept] if request.labelled else None
    if labels is not None:
        classes.require_images({line.label for line in lines.values()}, labels)
    return classes.found(rows, labels, [line.split for line in kept])


def tables(archive: Archive) -> list[str]:
    return [name for name in archive.files if name.lower().endswith(".csv")]


def suits(archive: Archive, request: Request) -> bool:
    """Whether the archive has just one table, and that the columns that are needed."""
    found = tables(archive)
    if len(found) != 1:
        return False
    line = archive.read(found[0], MAX_TABLE_BYTES)[:HEADER_BYTES].partition(b"\n")[0].decode("utf-8-sig", "replace")
    return _needed(request.labelled) <= set(_columns(next(csv.reader([line]), [])))


def _lines(archive: Archive, table: str, labelled: bool) -> dict[str, Line]:
    """By the names of the archive's files."""
    files, lines = set(archive.files), dict[str, Line]()
    missing = []
    for number, record in _records(archive, table, labelled):
        name = _file(record["file"], table, files)
        if name is None:
            missing.append(record["file"])
            continue
        line = Line(record["label"].strip() if labelled else "", _split(record.get("split", ""), table, number))
        if lines.setdefault(name, line) != line:
            raise Failure("two_labels", f"Line {number} of {table} says something else of {name} than a line before.")
    if missing:
        names = ", ".join(name[:80] for name in missing[:SHOWN]) + (", …" if len(missing) > SHOWN else "")
        raise Failure("missing_files", f"{table} lists {len(missing)} files that the archive lacks: {names}.")
    return lines


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
        if not _needed(labelled) <= set(columns):
            needed = " and ".join(f"`{name}`" for name in sorted(_needed(labelled)))
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


def _needed(labelled: bool) -> set[str]:
    return {"file", "label"} if labelled else {"file"}


def _split(text: str, table: str, number: int) -> int:
    split = split_of(text.strip())
    if split == UNSPLIT and text.strip():
        raise _bad_line(table, number, f"has the split {text[:40]!r}: say train, validation or test")
    return split


def _bad_line(table: str, number: int, fault: str) -> Failure:
    return Failure("bad_table", f"Line {number} of {table} {fault}.")
