"""Parts of what is known of an ingested dataset."""

from typing import Literal

from app.contract.record import Record

Split = Literal["train", "validation", "test"]


class ImageShape(Record):
    height: int
    width: int
    channels: int


class Counts(Record):
    train: int
    validation: int
    test: int


class ClassCounts(Record):
    """Images per class, in the order of `classes`."""

    train: list[int]
    validation: list[int]
    test: list[int]


class Refused(Record):
    name: str
    reason: str


class RevisionReport(Record):
    """Images of a revision by what became of their labels: `added` had none before, `removed` have none any more.

    `blank` entries of the list name an image and no label, and change nothing; `unknown` ones name no image: the first
    100 stand in `unknown_images`.
    """

    added: int
    changed: int
    unchanged: int
    removed: int
    blank: int
    unknown: int
    unknown_images: list[str]


class DuplicatePair(Record):
    """Two equal images, by the names of their files or, where these have none, the ids of their samples; `near`: they
    only look the same."""

    images: list[str]
    splits: list[Split]
    near: bool = False


class Duplicates(Record):
    """`exact`: images that equal an earlier one pixel for pixel; `across`: those outside of training that equal a
    training image; `near`: those outside of training that equal none and look like one, null where nobody looked.  At
    most 10 `examples`, those across splits first."""

    exact: int
    across: int
    near: int | None
    examples: list[DuplicatePair]
