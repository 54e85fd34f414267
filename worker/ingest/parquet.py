"""`parquet`: images and labels as columns of Parquet files, as Hugging Face keeps its image datasets.

An image is a cell of bytes, or of `{bytes, path}`; a label is a number, a text, or a list of them.  The names of
classes are those that the library datasets writes into the schema (`ClassLabel`).  Files are mapped and read a few rows
at a time, and only the columns that are wanted.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from app.imaging.packed import SPLITS
from worker.ingest import classes, columns, csv, naming, unlabelled
from worker.ingest.archive import BARE, MAX_NAME_CHARS, Archive, Member, Metered
from worker.ingest.listed import NO_IMAGE
from worker.ingest.naming import UNSPLIT
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.runtime.contract import Failure, Note

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
MAGIC = b"PAR1"  # its first bytes
ROWS = 8  # that are read at a time
LEVELS = ("fine_label", "coarse_label")  # of CIFAR-100

Label = str | frozenset[str] | None
T = TypeVar("T")


@dataclass(frozen=True)
class Roles:
    """Columns of a file: of images, of labels (None: not wanted) and of splits, and the names of classes, if any.

    `numbers`: labels are numbers without names; `several`: an image has any number of them.
    """

    image: str
    label: str | None
    split: str | None
    names: list[str] | None = None
    numbers: bool = False
    several: bool = False


@dataclass
class RowsRead:
    """Labels, splits and paths of the rows so far, by the name under which the image goes into the pack."""

    label: dict[str, Label] = field(default_factory=dict)
    split: dict[str, int | str] = field(default_factory=dict)
    path: dict[str, str | None] = field(default_factory=dict)
    roles: dict[str, Roles] = field(default_factory=dict)  # by file


def suits(archive: Archive, _: Request) -> bool:
    """Tell whether it is such a file, or holds some and no images beside them."""
    if archive.bare:
        return any(member.stream.peek(len(MAGIC)) == MAGIC for member in archive.walk())
    without_pictures = all(NO_IMAGE.search(name) for name in archive.files)
    return without_pictures and any(name.lower().endswith(SUFFIX) for name in archive.files)


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """The images in the order of their files' names and of their rows.

    Raises:
        Failure: `corrupt_archive`, `bad_table`, `no_labels`, `no_images`, `bad_label`.
    """
    found = RowsRead()
    stored = pack.decode(_images(archive, found, pack, request))
    splits = _splits(found, request)
    _tell_of_files(found, splits, pack)
    rows = sorted(range(len(stored)), key=stored.__getitem__)
    if request.labelled:
        listed = [stored[row] for row in rows]
        labelled = [found.label[key] is not None for key in listed]
        rows = [rows[place] for place in unlabelled.kept(labelled, [splits[key] for key in listed], pack.tell)]
    keys = [stored[row] for row in rows]
    paths = [found.path[key] for key in keys]
    named = all(paths) and len(set(paths)) == len(paths)
    names = [path for path in paths if path] if named else keys
    split_N = [splits[key] for key in keys]
    if not request.labelled:
        return classes.parsed(rows, None, split_N, names)
    labels = [found.label[key] for key in keys]
    if any(isinstance(label, frozenset) for label in labels):
        sets = [label if isinstance(label, frozenset) else frozenset() for label in labels]
        parsed = classes.parsed_several(rows, sets, split_N, names)
    else:
        parsed = classes.parsed(rows, [label for label in labels if not isinstance(label, frozenset)], split_N, names)
    return classes.arranged(parsed, _order(found, parsed.classes))


def _images(archive: Archive, found: RowsRead, pack: Pack, request: Request) -> Iterator[Member]:
    """Every image of every file, as a member of the archive; what else its row says goes into `found`."""
    for member in archive.walk():
        if not archive.bare and not member.name.lower().endswith(SUFFIX):
            pack.refuse(member.name, "It is no Parquet file.")
            continue
        on_disk: AbstractContextManager[Path] = nullcontext(archive.path) if archive.bare else pack.on_disk(member)
        with on_disk as path:
            yield from _rows(path, member.name, archive, found, request)


def _rows(path: Path, file: str, archive: Archive, found: RowsRead, request: Request) -> Iterator[Member]:
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others set aside more than an ingest may have
    from pyarrow.parquet import ParquetFile  # it takes most of a second

    opened = _read(file, lambda: ParquetFile(path, memory_map=True, pre_buffer=False))
    roles = _roles(_read(file, lambda: opened.schema_arrow), file, request)
    first, other = next(iter(found.roles.items()), (file, roles))
    if (other.names, other.several, other.numbers) != (roles.names, roles.several, roles.numbers):
        raise Failure("bad_table", f"{file} has labels of another kind, or of other names, than {first}: send one set.")
    found.roles[file] = roles
    wanted = [name for name in (roles.image, roles.label, roles.split) if name is not None]
    batches = opened.iter_batches(batch_size=ROWS, columns=wanted, use_threads=False)
    allowance = archive.allowance(path.stat().st_size)
    stem, number = file.removesuffix(SUFFIX), 0
    while (rows := _read(file, lambda: _next(batches, wanted))) is not None:
        for row in rows:
            key = f"{stem}/{number:08}"
            number += 1
            image = row[roles.image]
            content, own_path = (image["bytes"], image.get("path")) if isinstance(image, dict) else (image, None)
            found.path[key] = own_path if _is_name(own_path) else None
            found.label[key] = None if roles.label is None else _label(row[roles.label], roles, file)
            found.split[key] = UNSPLIT if roles.split is None else str(row[roles.split] or "").strip()
            yield Member(key, len(content or b""), Metered(BytesIO(content or b""), allowance))


def _is_name(path: object) -> bool:
    return isinstance(path, str) and 0 < len(path) <= MAX_NAME_CHARS and "\0" not in path


def _next(batches: Iterator["pa.RecordBatch"], wanted: list[str]) -> list[dict[str, Any]] | None:
    batch = next(batches, None)
    if batch is None:
        return None
    cells = [batch.column(name).to_pylist() for name in wanted]
    return [dict(zip(wanted, row, strict=True)) for row in zip(*cells, strict=True)]


def _read(file: str, act: Callable[[], T]) -> T:
    """
    Raises:
        Failure: `corrupt_archive`, the file is damaged; `out_of_memory`, a page of it is too large.
    """
    import pyarrow as pa

    try:
        return act()
    except MemoryError as error:
        text = f"{_called(file)} has a page that takes more memory than there is: write it with row_group_size=100."
        raise Failure("out_of_memory", text) from error
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        text = f"{_called(file)} is damaged, or no Parquet ({reason.rstrip('.')}): write it again."
        raise Failure("corrupt_archive", text) from error


# --- columns


def _roles(schema: "pa.Schema", file: str, request: Request) -> Roles:
    """
    Raises:
        Failure: `bad_table`, which columns are meant is not known; `no_labels`, none is one of labels.
    """
    asked = {role: name for role, name in request.columns.items() if name is not None}
    if unknown := sorted(set(asked.values()) - set(schema.names)):
        raise Failure(
            "bad_table", f"{_called(file)} has no column {unknown[0]!r}, as `columns` says: {_listed(schema)}."
        )
    features = _features(schema)
    image = asked.get("image") or _image(schema, features, file)
    if not _holds_images(schema.field(image).type):
        text = f"{_called(file)} has no bytes in its column {image!r}: {_listed(schema)}."
        raise Failure("bad_table", text)
    split = asked.get("split") or _first(schema, columns.SPLIT, _is_text)
    if not request.labelled:
        return Roles(image, None, split)
    label = asked.get("label") or asked.get("labels") or _labels(schema, features, file, image, request)
    kind = schema.field(label).type
    if not _is_label(kind):
        text = f"{_called(file)} has no labels in its column {label!r}: {_listed(schema)}."
        raise Failure("bad_table", text)
    names = _names(features.get(label))
    numbers = names is None and not _is_text(_inner(kind))
    return Roles(image, label, split, names, numbers, several=_is_list(kind))


def _image(schema: "pa.Schema", features: dict[str, Any], file: str) -> str:
    possible = [one.name for one in schema if _holds_images(one.type)]
    declared = [name for name in possible if _kind(features.get(name)) == "Image"]
    known = [name for name in possible if columns.tidy(name) in columns.IMAGE]
    best = next((names for names in (declared, known, possible) if names), [])
    if len(best) != 1:
        what = "several columns that may be of images" if best else "no column of images, bytes or {bytes, path}"
        raise Failure("bad_table", f"{_called(file)} has {what}: {_listed(schema)}. {csv.SAY}")
    return str(best[0])


def _labels(schema: "pa.Schema", features: dict[str, Any], file: str, image: str, request: Request) -> str:
    possible = [one.name for one in schema if _is_label(one.type) and one.name != image]
    known = [name for name in possible if columns.tidy(name) in (*columns.LABEL, *columns.LABELS)]
    declared = [name for name in possible if _names(features.get(name)) is not None]
    if set(LEVELS) <= set(possible):
        return f"{request.labels}_label"
    best = next((names for names in ([name for name in declared if name in known], declared, known) if names), [])
    if not best:
        raise Failure("no_labels", f"{_called(file)} has no column of labels: {_listed(schema)}. {csv.SAY}")
    if len(best) > 1:
        raise Failure("bad_table", f"{_called(file)} has several columns of labels: {', '.join(best)}. {csv.SAY}")
    return str(best[0])


def _features(schema: "pa.Schema") -> dict[str, Any]:
    """The features that the library datasets declares, by column."""
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = said["info"]["features"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(feature: Any) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _names(feature: Any) -> list[str] | None:
    """The names of a `ClassLabel`, or of a list of them."""
    if isinstance(feature, list) and len(feature) == 1:
        return _names(feature[0])
    if _kind(feature) != "ClassLabel":
        return _names(feature["feature"]) if isinstance(feature, dict) and "feature" in feature else None
    names = feature.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    return classes.checked(list(names))


def _holds_images(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_images(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_list(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _inner(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    kind = kind.value_type if _is_list(kind) else kind
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_label(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(_inner(kind)) or pa.types.is_boolean(_inner(kind))) or _is_text(_inner(kind))


def _first(schema: "pa.Schema", names: tuple[str, ...], fits: Callable[["pa.DataType"], bool]) -> str | None:
    return next((one.name for one in schema if columns.tidy(one.name) in names and fits(one.type)), None)


def _listed(schema: "pa.Schema") -> str:
    listed = [f"{one.name!r} ({one.type})"[:120] for one in schema]
    return ", ".join(listed[:30]) + (", …" if len(listed) > 30 else "")


def _called(file: str) -> str:
    return "The file" if file == BARE else file


# --- rows


def _label(cell: Any, roles: Roles, file: str) -> Label:
    """A label as a text, several as a set; None for none: an empty cell, or −1, which datasets writes for that.

    Raises:
        Failure: `bad_label`, a number that has no name.
    """
    if cell is None and roles.several:
        return frozenset()
    if isinstance(cell, list):
        own = [_label(one, roles, file) for one in cell]
        return frozenset(one for one in own if isinstance(one, str))
    if cell is None or cell == "" or (cell == -1 and not isinstance(cell, str)):
        return None
    if roles.names is None or isinstance(cell, str):
        return str(cell).strip() if isinstance(cell, str) else str(int(cell))
    if not 0 <= cell < len(roles.names):
        raise Failure("bad_label", f"{_called(file)} has the label {cell}, but names of {len(roles.names)} classes.")
    return str(roles.names[cell])


def _splits(found: RowsRead, request: Request) -> dict[str, int]:
    """The split of each row, by its column, else by the name of its file.

    Raises:
        Failure: `bad_table`, a cell names none.
    """
    cells = naming.splits_of({cell for cell in found.split.values() if isinstance(cell, str)}, request.split_names)
    if strange := sorted(cell for cell, split in cells.items() if cell and split == UNSPLIT):
        raise Failure(
            "bad_table",
            f"Rows have the split {strange[0][:40]!r}: say train, validation or test, or name it in `split_names`.",
        )
    of_file = {file.removesuffix(SUFFIX): csv.split_by_name(file, request) for file in found.roles}
    return {
        key: cells[cell] if isinstance(cell, str) and cell else of_file[key.rpartition("/")[0]]
        for key, cell in found.split.items()
    }


def _tell_of_files(found: RowsRead, splits: dict[str, int], pack: Pack) -> None:
    if len(found.roles) < 2:
        return
    counts = [f"{sum(split == one for split in splits.values()):,} as {name}" for one, name in enumerate(SPLITS)]
    rest = sum(split == UNSPLIT for split in splits.values())
    counts += [f"{rest:,} of files whose names do not say"] if rest else []
    text = f"{len(found.roles)} files are read together: {', '.join(counts)} images."
    pack.tell(Note("files_joined", text, "warning" if rest and rest < len(splits) else "info"))


def _order(found: RowsRead, names: list[str]) -> list[str] | None:
    """The order of classes: that of their declaration, of numbers theirs; None for that of their names."""
    roles = next(iter(found.roles.values()))
    if roles.names is not None:
        return roles.names
    return sorted(names, key=lambda name: int(name)) if roles.numbers else None
