"""Tables as lines of cells, whatever file they come in: delimited text, JSON, JSON lines, or a list of names and
labels.

Of JSON are read: objects of one level in a list or one a line, one object that gives each file its label, and what
Label Studio exports of classifications (`JSON` and `JSON-MIN`).  A list (ImageNet's `val.txt`) has a file's name and
its label on each line, with blanks between them.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from worker.ingest import columns
from worker.runtime.contract import Failure

DELIMITERS = ",;\t|"
DELIMITED, LISTS = (".csv", ".tsv", ".tab"), (".json", ".jsonl", ".txt")
FILE, LABEL = "file", "label"  # columns of what has no header

Record = tuple[int, list[str]]  # the number of its line, its cells
Lines = tuple[list[str], list[Record]]  # the header, and the others
T = TypeVar("T")

_LISTED = re.compile(r"(\S.*\.\w{2,5})[ \t]+(\S+)")


def read(content: bytes, table: str, most: int | None = None) -> Lines:
    """The header, and of the lines that are not blank at `most` so many.

    Raises:
        Failure: `bad_table`.
    """
    text = _text(content, table)
    lower = table.lower()
    if lower.endswith(".jsonl"):
        return _from_objects(_parsed_lines(text, table), most)
    if lower.endswith(".json"):
        return _from_json(_parsed(text, table), table, most)
    if lower.endswith(".txt"):
        return _from_list(text, table, most)
    return _from_delimited(text, table, most)


def bad_line(table: str, number: int, fault: str) -> Failure:
    return Failure("bad_table", f"Line {number} of {table} {fault}.")


def _text(content: bytes, table: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Failure("bad_table", f"{table} is not in UTF-8: save it as such.") from None


# --- delimited


def _from_delimited(text: str, table: str, most: int | None) -> Lines:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = next(reader, [])
        records = list[Record]()
        for record in itertools.islice(filter(None, reader), most):
            if len(record) != len(header):
                raise bad_line(table, reader.line_num, f"has {len(record)} fields, not {len(header)}")
            records.append((reader.line_num, record))
    except csv.Error as error:
        raise bad_line(table, reader.line_num, f"cannot be read: {error}") from error
    return header, records


def _delimiter(text: str) -> str:
    """The delimiter of the first line: the one that parts it into the most names of columns that are known, else into
    the most."""
    line = text.partition("\n")[0].rstrip("\r")
    known = {*columns.IMAGE, *columns.LABEL, *columns.LABELS, *columns.SPLIT}

    def fit(delimiter: str) -> tuple[int, int]:
        names = line.split(delimiter)
        return sum(columns.tidy(name.strip('"')) in known for name in names), len(names)

    return max(DELIMITERS, key=fit)


def _from_list(text: str, table: str, most: int | None) -> Lines:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()][:most]
    records = []
    for number, line in lines:
        match = _LISTED.fullmatch(line)
        if match is None:
            raise bad_line(table, number, "is no file's name with a label behind it")
        records.append((number, list(match.groups())))
    return [FILE, LABEL], records


# --- JSON


def _parsed(text: str, table: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure("bad_table", f"{table} is no JSON: {error}.") from error


def _parsed_lines(text: str, table: str) -> list[object]:
    return [_parsed(line, f"Line {number} of {table}") for number, line in enumerate(text.splitlines(), 1) if line]


def _from_json(document: object, table: str, most: int | None) -> Lines:
    if isinstance(document, list) and document:
        tasks = [task for task in document if isinstance(task, dict) and isinstance(task.get("data"), dict)]
        return _from_tasks(tasks, most) if len(tasks) == len(document) else _from_objects(document, most)
    if isinstance(document, dict) and document and all(isinstance(label, str | int) for label in document.values()):
        return [FILE, LABEL], list(enumerate(([name, str(label)] for name, label in _first(document.items(), most)), 1))
    raise Failure("bad_table", f"{table} is no list of objects, and gives files no labels.")


def _from_objects(objects: Iterable[object], most: int | None) -> Lines:
    """A line each; those that are no objects have no cells.  A column of lists is called `labels`, not `label`."""
    rows = [_dict(row) for row in _first(objects, most)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    several = {name for row in rows for name in ("label", "choice") if "|" in _cell(row.get(name))}
    return [f"{name}s" if name in several else name for name in names], list(enumerate(cells, 1))


def _from_tasks(tasks: Iterable[Mapping[str, object]], most: int | None) -> Lines:
    """Label Studio's tasks: what each shows, and the choices of its annotations, without those that were cancelled.

    A picture that is written into the task names nothing: then what stands beside it does.
    """
    rows = []
    for task in _first(tasks, most):
        data = task["data"]
        assert isinstance(data, dict)
        texts = (text for text in data.values() if isinstance(text, str))
        shown = next((text for text in texts if not text.startswith("data:")), "")
        rows.append([shown, "|".join(sorted(_choices(task)))])
    several = any("|" in labels for _, labels in rows)
    return [FILE, "labels" if several else LABEL], list(enumerate(rows, 1))


def _choices(task: Mapping[str, object]) -> set[str]:
    return {
        str(choice)
        for annotation in _dicts(task.get("annotations"))
        if not annotation.get("was_cancelled")
        for result in _dicts(annotation.get("result"))
        for choice in _listed(_dict(result.get("value")).get("choices"))
    }


def _cell(value: object) -> str:
    """A cell's text: several labels, a list or Label Studio's `{"choices": […]}`, with bars between them."""
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, list):
        return "|".join(str(part) for part in value)
    return "" if value is None else str(value)


def _dict(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[Mapping[str, object]]:
    return [part for part in _listed(value) if isinstance(part, dict)]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _first(items: Iterable[T], most: int | None) -> Iterable[T]:
    return itertools.islice(items, most)
