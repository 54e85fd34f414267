"""The columns of a table by their roles, under the names that spreadsheets, notebooks and labelling tools give them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from worker.runtime.contract import Failure

IMAGE = (
    "file",
    "filename",
    "file_name",
    "filepath",
    "filepaths",
    "file_path",
    "image",
    "images",
    "image_name",
    "image_file",
    "image_path",
    "imagepath",
    "image_id",
    "imageid",
    "img",
    "img_name",
    "img_path",
    "img_id",
    "path",
    "paths",
    "fname",
    "id",
    "id_code",
    "name",
)
LABEL = (
    "label",
    "class",
    "category",
    "dx",
    "target",
    "class_name",
    "classname",
    "label_name",
    "category_name",
    "diagnosis",
    "breed",
    "species",
    "variety",
    "y",
    "choice",
    "label_id",
    "labelid",
    "class_id",
    "classid",
    "category_id",
    "level",
)
LABELS = (
    "labels",
    "tags",
    "choices",
    "classes",
    "categories",
    "attributes",
    "attribute_ids",
    "finding_labels",
    "predicates",
)
SPLIT = ("split", "set", "data_set", "dataset", "subset", "partition", "fold_name", "usage")


@dataclass(frozen=True)
class Columns:
    """Places of columns.  `several`: a cell of labels may name any number.  `classes`: in the place of a column of
    labels one of 0 and 1 for each class."""

    image: int
    label: int | None
    split: int | None
    several: bool = False
    classes: tuple[int, ...] = ()


def tidy(name: str) -> str:
    """Normalise a column's name: names are compared in this form."""
    return "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())


def asked(header: Sequence[str], wanted: Mapping[str, str], table: str) -> dict[str, int]:
    """Places of the columns that a request names, by what for.

    Raises:
        Failure: `bad_table`, there is no column of that name.
    """
    places = {}
    for role, name in wanted.items():
        matches = [place for place, one in enumerate(header) if tidy(one) == tidy(name)]
        if len(matches) != 1:
            raise Failure(
                "bad_table",
                f"`columns` names {name!r} as that of the {role}, but {table} has the columns {listed(header)}.",
            )
        places[role] = matches[0]
    return places


def candidates(header: Sequence[str], names: Collection[str]) -> list[int]:
    """Places of the columns with one of the names, in the order of these."""
    tidied = [tidy(one) for one in header]
    return [tidied.index(name) for name in names if name in tidied]


def listed(names: Sequence[str], shown: int = 30) -> str:
    return ", ".join(repr(name.strip()[:40]) for name in names[:shown]) + (", …" if len(names) > shown else "")


def wanted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
