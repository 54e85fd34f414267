"""Cells of a table that hold several labels: by what they are separated."""

from collections import Counter
from collections.abc import Collection, Iterable

SEPARATORS = "|;,"  # of several labels in a cell, the first that any cell has; then blanks


def separator(cells: set[str], several: bool) -> str | None:
    """The separator of the labels in `cells`; None where each holds one.  `several`: their column is one of lists."""
    for separator in SEPARATORS:
        if any(separator in cell for cell in cells) and (several or _recur(cells, separator)):
            return separator
    if any(" " in cell for cell in cells):
        alone = {cell for cell in cells if len(cell.split()) == 1}
        words = {word for cell in cells for word in cell.split()}
        if _recur(cells, " ") and (several or words <= alone):
            return " "
    return None


def _recur(cells: set[str], separator: str) -> bool:
    """Tell whether parts of cells come back in other cells so often that there are no more parts than cells."""
    parts = Counter(part for cell in cells for part in set(parted(cell, separator)))
    joined = [cell for cell in cells if len(parted(cell, separator)) > 1]
    recurring = [cell for cell in joined if any(parts[part] > 1 for part in parted(cell, separator))]
    return bool(joined) and len(parts) <= len(cells) and len(recurring) == len(joined)


def doubtful(cells: set[str]) -> str | None:
    """A cell of one label that might be several: parts of it stand alone elsewhere."""
    for separator in ",; /+&":
        for cell in sorted(cells):
            parts = parted(cell, separator)
            if len(parts) > 1 and any(part in cells for part in parts):
                return cell
    return None


def parted(cell: str, separator: str) -> list[str]:
    return [part for part in map(str.strip, cell.split(separator)) if part]


def each(cells: Iterable[str], separator: str, whole: Collection[str] = ()) -> frozenset[str]:
    """The labels in all the cells; those of `whole` are one each."""
    return frozenset(part for cell in cells for part in ([cell] if cell in whole else parted(cell, separator)))
