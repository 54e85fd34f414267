"""Tensors under other names than in the file, each with those of the file that it was made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from worker.networks.conventions import Conventions
from worker.networks.load import COMPILED, Report


@dataclass(frozen=True)
class Piece:
    """A tensor, and the names in the file of those that it was made of."""

    tensor: Tensor
    sources: tuple[str, ...]


Pieces = dict[str, Piece]


@dataclass(frozen=True)
class Translation:
    """The tensors of a file by the names that another library has for them.

    `layout` says whose names the file has (`ViT of transformers`; empty where they are taken as they are), `library`
    whose they are now.  `aside` are names in the file that have no place in such a network, with the reason.
    `conventions` are those of the file's library, where the network's may be others.  `remark` is what cannot be seen
    from the names.
    """

    layout: str
    library: str
    pieces: Pieces
    aside: Mapping[str, str] = field(default_factory=dict)
    conventions: Conventions | None = None
    remark: str = ""

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: piece.tensor for name, piece in self.pieces.items()}

    @property
    def renames(self) -> int:
        """The number of tensors that go by another name than in the file."""
        return sum(name not in piece.sources for name, piece in self.pieces.items())

    def restated(self, report: Report) -> Report:
        """The report on the translated tensors, in the file's names."""
        left_out = {entry["name"]: entry["reason"] for entry in report.skipped}
        reshaped = {entry["name"] for entry in report.reshaped}
        places = {name: name for name in [*report.copied, *reshaped] if name in self.pieces and name not in left_out}
        places |= {entry["from"]: entry["to"] for entry in report.renamed}
        pairs = [(source, place) for name, place in places.items() for source in self.pieces[name].sources]
        taken = {source for source, _ in pairs}
        skipped = {source: reason for name, reason in left_out.items() for source in self.pieces[name].sources}
        skipped = {name: reason for name, reason in (skipped | {**self.aside}).items() if name not in taken}
        return replace(
            report,
            copied=[place for source, place in pairs if source == place and place not in reshaped],
            renamed=[{"from": source, "to": place} for source, place in pairs if source != place],
            skipped=[{"name": name, "reason": reason} for name, reason in skipped.items()],
        )


def untranslated(tensors: Mapping[str, Tensor]) -> Translation:
    """The names as they are, but for what torch.compile puts into them.

    Where two come to the same, the second keeps its own, under which nothing has a place.
    """
    pieces: Pieces = {}
    for name, tensor in tensors.items():
        plain = name.replace(COMPILED, "")
        pieces[name if plain in pieces else plain] = Piece(tensor, (name,))
    return Translation("", "", pieces)
