"""Names of classes: what may be one, and the numbers that stand for them."""

import unicodedata
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from worker.ingest.parsed import Codes, ParsedDataset, Rows
from worker.runtime.contract import Failure

MAX_CLASSES = 10_000
MAX_CHARS = 256
MAX_TARGETS = 2**30  # images × classes where an image may have several: a byte each
_LINE_BREAKING = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of controls, surrogates and separators


def parsed(
    rows: Sequence[int], labels: Sequence[str | None] | None, splits: Sequence[int], names: Sequence[str]
) -> ParsedDataset:
    """The images `rows` of a pack with a label each, some or all without; `names` are those of their files.

    Raises:
        Failure: see `number`.
    """
    classes, label_N = number([None] * len(rows) if labels is None else labels)
    return ParsedDataset(np.array(rows, np.int64), label_N, np.array(splits, np.uint8), classes, names=names)


def parsed_several(
    rows: Sequence[int], labels: Sequence[AbstractSet[str]], splits: Sequence[int], names: Sequence[str]
) -> ParsedDataset:
    """The images `rows` of a pack with any number of labels each.

    Raises:
        Failure: `no_labels`, `bad_label`, `too_many_classes`.
    """
    classes = checked(sorted(set().union(*labels)))
    if not classes:
        raise Failure("no_labels", "No image has a label: fill in `labels`, or pass `labelled`: false.")
    require_targets(len(rows), len(classes))
    place = {name: number for number, name in enumerate(classes)}
    target_NK = np.zeros((len(rows), len(classes)), np.uint8)
    for row, own in enumerate(labels):
        target_NK[row, [place[name] for name in own]] = 1
    return ParsedDataset(
        np.array(rows, np.int64), rarest(target_NK), np.array(splits, np.uint8), classes, target_NK, names
    )


def rarest(target_NK: Codes) -> Rows:
    """[N]: of each image's classes the one with the fewest images, of equals the first; −1 where it has none."""
    order_K = np.argsort(target_NK.sum(axis=0, dtype=np.int64), kind="stable")
    return np.where(target_NK.any(axis=1), order_K[target_NK[:, order_K].argmax(axis=1)], -1)


def number(labels: Sequence[str | None]) -> tuple[list[str], Rows]:
    """The classes, sorted, and for each label its place among them; −1 for none.

    Raises:
        Failure: `bad_label`, `too_many_classes`.
    """
    classes = checked(sorted({label for label in labels if label is not None}))
    place: dict[str | None, int] = {name: number for number, name in enumerate(classes)} | {None: -1}
    return classes, np.array([place[label] for label in labels], np.int64)


def number_values(value_N: Rows) -> tuple[list[str], Rows]:
    """Number the classes of labels that are numbers: only those that occur are classes, in numerical order."""
    values, place_N = np.unique(value_N, return_inverse=True)
    return checked([str(value) for value in values.tolist()]), place_N


def checked(classes: list[str]) -> list[str]:
    """
    Raises:
        Failure: `bad_label`, `too_many_classes`.
    """
    if len(classes) > MAX_CLASSES:
        raise Failure("too_many_classes", f"There are {len(classes):,} classes; {MAX_CLASSES:,} are the limit.")
    for name in classes:
        if not name or len(name) > MAX_CHARS or any(unicodedata.category(char) in _LINE_BREAKING for char in name):
            raise Failure(
                "bad_label",
                f"{name[:40]!r} cannot be a label: it must have 1 to {MAX_CHARS} characters, all on one line.",
            )
    if len(set(classes)) < len(classes):
        raise Failure("bad_label", "Two classes have the same name.")
    return classes


def require_two(label_N: Rows, target_NK: Codes | None, classes: Sequence[str]) -> None:
    """Labels must tell at least two classes apart.

    Raises:
        Failure: `no_labels`, `one_class`.
    """
    if target_NK is not None and not target_NK.all():
        return
    present = np.unique(label_N[label_N >= 0])
    if not len(present):
        raise Failure("no_labels", "No image has a label.")
    if len(present) < 2:
        only = classes[present[0]]
        raise Failure("one_class", f"All images are of the class {only!r}: add another, or pass `labelled`: false.")


def require_targets(images: int, classes: int) -> None:
    """
    Raises:
        Failure: `too_many_classes`, for so many images that may have several.
    """
    if images * classes > MAX_TARGETS:
        raise Failure(
            "too_many_classes",
            f"{images:,} images × {classes:,} classes are more than {MAX_TARGETS:,}: leave rare classes out.",
        )


def arranged(parsed: ParsedDataset, wanted: Sequence[str] | None) -> ParsedDataset:
    """The dataset with its classes in the order `wanted`; labels that are numbers, and none of them a name, are places
    in it.

    Raises:
        Failure: `unknown_classes`.
    """
    if wanted is None or not parsed.classes:
        return parsed
    names = parsed.classes
    if not set(names) <= set(wanted) and set(names) <= set(map(str, range(len(wanted)))):
        names = [wanted[int(name)] for name in names]
    if unknown := sorted(set(names) - set(wanted)):
        listed = ", ".join(repr(name[:40]) for name in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise Failure("unknown_classes", f"Images are of the classes {listed}, which `classes` does not name.")
    place = {name: number for number, name in enumerate(wanted)}
    place_K = np.array([place[name] for name in names], np.int64)
    target_NK = None
    if parsed.target_NK is not None:
        target_NK = np.zeros((len(parsed.target_NK), len(wanted)), np.uint8)
        target_NK[:, place_K] = parsed.target_NK
    label_N = np.where(parsed.label_N < 0, -1, place_K[parsed.label_N])
    return replace(parsed, label_N=label_N, classes=list(wanted), target_NK=target_NK)


def require_images(wanted: Iterable[str], readable: Iterable[str]) -> None:
    """
    Raises:
        Failure: `empty_class`, naming the classes of which no image was found.
    """
    empty = sorted(set(wanted) - set(readable))
    if empty:
        names = ", ".join(repr(name[:40]) for name in empty[:5]) + (", …" if len(empty) > 5 else "")
        raise Failure("empty_class", f"No image of {names} can be read: add images, or remove the class.")
