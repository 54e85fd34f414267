"""A layout of names, and how another library calls the same tensors."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from worker.ingest.dialects.template import Template
from worker.ingest.dialects.translation import Piece, Pieces, Translation
from worker.networks.conventions import Conventions

PART = re.compile(r"(.+)#(\d)")  # of a tensor that is put together of several, as that of queries, keys and values
Names = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """`root` is a name that every file of the layout has and others have not, after what stands before a whole network.

    `body` are its names, with those of `library` beside: the first that fits counts.  Where the library puts `base`
    before the names of a network without its head, `head` are those that stand beside it.  `aside` are names, in either
    place, that have no counterpart, with the reason.  `finish` does to one network what names alone cannot say.
    """

    layout: str
    library: str
    root: str
    body: Names
    head: Names = ()
    base: str = ""
    aside: Names = ()
    unless: str = ""
    finish: Callable[[Pieces], Pieces] | None = None
    conventions: Callable[[Pieces], Conventions] | None = None
    remark: str = ""

    def translations(self, translation: Translation) -> Iterator[Translation]:
        """The translation's tensors as `library` calls them; none where their names are not of this layout."""
        roots = self._roots(translation.pieces)
        if not roots:
            return
        pieces: Pieces = {}
        aside = dict(translation.aside)
        conventions = translation.conventions
        for prefix, with_base in roots.items():
            inside = {name: piece for name, piece in translation.pieces.items() if _owner(name, roots) == prefix}
            named, without = self._named(inside, prefix, with_base)
            if self.conventions:
                conventions = self.conventions(named)
            named = _put_together(named)
            if self.finish:
                named = self.finish(named)
            pieces |= {prefix + name: piece for name, piece in named.items()}
            aside |= without
        for name, piece in translation.pieces.items():
            if _owner(name, roots) is None:
                pieces.setdefault(name, piece)
        yield Translation(
            translation.layout or self.layout,
            self.library,
            pieces,
            aside,
            conventions,
            " ".join(filter(None, (translation.remark, self.remark))),
        )

    def _roots(self, pieces: Mapping[str, object]) -> dict[str, bool]:
        """Prefixes of the networks of this layout, and whether `base` stands behind each."""
        roots: dict[str, bool] = {}
        for name in pieces:
            match = self._root.fullmatch(name)
            if match:
                with_base = match["base"] is not None
                roots[match["prefix"]] = roots.get(match["prefix"], False) or with_base
        if self._unless is None:
            return roots
        others = [name for name in pieces if self._unless.fullmatch(name)]
        return {
            prefix: with_base
            for prefix, with_base in roots.items()
            if not any(name.startswith(prefix) for name in others)
        }

    def _named(self, pieces: Pieces, prefix: str, with_base: bool) -> tuple[Pieces, dict[str, str]]:
        """The tensors of one network by their other names, and the file's names of those without."""
        named: Pieces = {}
        without: dict[str, str] = {}
        for name, piece in pieces.items():
            relative = name.removeprefix(prefix)
            base = self._base.match(relative) if with_base else None
            below = relative[base.end() :] if base else relative
            tables = [self._body] if base else [self._head] if with_base else [self._body, self._head]
            values = next((found for table in tables for found in _reading(table, below)), None)
            reason = next((reason for template, reason in self._aside if template.read(below) is not None), None)
            if values is None and reason is not None:
                without |= dict.fromkeys(piece.sources, reason)
            else:
                named[relative if values is None else values] = piece
        return named, without

    @cached_property
    def _root(self) -> re.Pattern[str]:
        base = f"(?P<base>{self._base.pattern})?" if self.base else "(?P<base>x^)?"
        return re.compile(rf"(?P<prefix>(?:.+?\.)??){base}{Template(self.root).pattern.pattern}")

    @cached_property
    def _unless(self) -> re.Pattern[str] | None:
        return re.compile(rf"(?:.+\.)?{Template(self.unless).pattern.pattern}") if self.unless else None

    @cached_property
    def _base(self) -> re.Pattern[str]:
        return Template(f"{self.base}.").pattern if self.base else re.compile("x^")

    @cached_property
    def _body(self) -> list[tuple[Template, Template]]:
        return _templates(self.body)

    @cached_property
    def _head(self) -> list[tuple[Template, Template]]:
        return _templates(self.head)

    @cached_property
    def _aside(self) -> list[tuple[Template, str]]:
        return [(Template(name), reason) for name, reason in self.aside]


def _templates(names: Names) -> list[tuple[Template, Template]]:
    return [(Template(name), Template(to)) for name, to in names]


def _reading(table: Sequence[tuple[Template, Template]], name: str) -> Iterator[str]:
    for template, to in table:
        values = template.read(name)
        if values is not None:
            yield to.write(values)


def _owner(name: str, roots: Mapping[str, object]) -> str | None:
    """The longest of the prefixes that the name begins with."""
    return max((prefix for prefix in roots if name.startswith(prefix)), key=len, default=None)


def _put_together(pieces: Pieces) -> Pieces:
    """Concatenate along the first dimension the tensors that are parts of one; if one is missing, none has a place."""
    together: Pieces = {}
    parts: dict[str, dict[int, Piece]] = {}
    for name, piece in pieces.items():
        match = PART.fullmatch(name)
        if match:
            parts.setdefault(match[1], {})[int(match[2])] = piece
        else:
            together[name] = piece
    for name, numbered in parts.items():
        ordered = [numbered[number] for number in sorted(numbered)]
        if [*sorted(numbered)] == [*range(len(numbered))] and _same_width([piece.tensor for piece in ordered]):
            tensor = torch.cat([piece.tensor for piece in ordered])
            together[name] = Piece(tensor, tuple(source for piece in ordered for source in piece.sources))
        else:
            together |= {f"{name}#{number}": piece for number, piece in numbered.items()}
    return together


def _same_width(tensors: Sequence[Tensor]) -> bool:
    """Tell whether tensors can be concatenated; a single one is a part without the others."""
    return len(tensors) > 1 and len({(tensor.shape[1:], tensor.dtype, tensor.ndim > 0) for tensor in tensors}) == 1
