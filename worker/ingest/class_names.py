"""Names of classes beside the weights in a file, as training scripts and mmpretrain store them."""

from collections.abc import Iterator, Mapping
from typing import Any

LISTS = ("CLASSES", "classes", "class_names")
NUMBERED = ("class_to_idx", "label2id")  # the number of each class, by its name
MAX_DEPTH = 3  # of dicts within dicts
MAX_CHARS = 512


def found(content: Any) -> list[str] | None:
    """The only names of classes in what a file holds, in their order; None where there are none, or several."""
    lists = {tuple(names) for names in _candidates(content, MAX_DEPTH)}
    return list(lists.pop()) if len(lists) == 1 else None


def _candidates(content: Any, levels: int) -> Iterator[list[str]]:
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        names = _named(value) if key in LISTS else _numbered(value) if key in NUMBERED else None
        if names is not None:
            yield names
        elif levels:
            yield from _candidates(value, levels - 1)


def _named(value: Any) -> list[str] | None:
    if not isinstance(value, list | tuple) or not value or len({*map(str, value)}) < len(value):
        return None
    sensible = all(isinstance(name, str) and 0 < len(name) <= MAX_CHARS and name.isprintable() for name in value)
    return [*value] if sensible else None


def _numbered(value: Any) -> list[str] | None:
    """Names in the order of their numbers, which are 0, 1, … with none left out."""
    if not isinstance(value, Mapping) or not all(type(number) is int for number in value.values()):
        return None
    ordered = sorted(value, key=lambda name: value[name])
    return _named(ordered) if sorted(value.values()) == [*range(len(value))] else None
