"""timm's own conversions of the checkpoints that architectures were first published as, traced tensor by tensor."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from timm.models import model_entrypoint
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from worker.ingest.dialects.translation import Piece, Pieces, Translation
from worker.networks import from_timm

FILTERS = ("checkpoint_filter_fn", "_filter_fn")
ENOUGH = 0.3  # of the file's tensors; less does not stand under the prefix of a network
LEFT_OUT = "timm's own conversion leaves it out"
# What a conversion raises where a file is not what it is for.
UNFIT = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def converted(name: str, shell: nn.Module, original: Translation, backbone: Mapping[str, Tensor]) -> Translation | None:
    """The file as timm's conversion for the architecture `name` reads it.

    None where there is no conversion, or it finds no more of the names in `backbone` than stand in the file already.
    """
    convert = _conversion(name)
    if convert is None:
        return None
    prefixes = _prefixes(original.pieces)
    found = {prefix: _traced(convert, original.pieces, prefix, shell) for prefix in prefixes}
    counts = {prefix: _found(pieces, prefix, backbone) for prefix, pieces in found.items()}
    most = max(counts.values(), default=0)
    if most <= max((_found(original.pieces, prefix, backbone) for prefix in prefixes), default=0):
        return None
    best = tuple(prefix for prefix in prefixes if counts[prefix] == most)
    pieces = {name: piece for name, piece in original.pieces.items() if not name.startswith(best)}
    for prefix in best:  # several sets of weights
        pieces |= found[prefix]
    used = {source for piece in pieces.values() for source in piece.sources}
    left = [source for piece in original.pieces.values() for source in piece.sources if source not in used]
    layout = f"checkpoints that timm's {convert.__module__.rpartition('.')[2]} converts itself"
    return Translation(layout, "timm", pieces, dict.fromkeys(left, LEFT_OUT))


def _conversion(name: str) -> Callable[..., Any] | None:
    if not from_timm.knows(name):
        return None
    module = sys.modules[model_entrypoint(name.removeprefix(from_timm.PREFIX)).__module__]
    return next((getattr(module, filter) for filter in FILTERS if hasattr(module, filter)), None)


def _prefixes(pieces: Mapping[str, object]) -> list[str]:
    """Prefixes of a good part of the names, the shortest first."""
    counts: Counter[str] = Counter()
    for name in pieces:
        parts = name.split(".")
        counts.update(".".join([*parts[:i], ""]) for i in range(len(parts)))
    common = [prefix for prefix, count in counts.items() if count >= ENOUGH * len(pieces)]
    return sorted({prefix.removeprefix(".") for prefix in common}, key=lambda prefix: (prefix.count("."), prefix))


def _found(pieces: Mapping[str, object], prefix: str, backbone: Mapping[str, Tensor]) -> int:
    return sum(prefix + name in pieces for name in backbone)


def _traced(convert: Callable[..., Any], pieces: Pieces, prefix: str, shell: nn.Module) -> Pieces:
    """The conversion of what stands under `prefix`; nothing where that is not what it is for."""
    inside = {name.removeprefix(prefix): piece for name, piece in pieces.items() if name.startswith(prefix)}
    try:
        with _Tracing(inside) as tracing:
            given = {name: piece.tensor for name, piece in inside.items()}
            found = convert(given, shell) if convert.__code__.co_argcount > 1 else convert(given)
            return {prefix + name: Piece(tensor, tracing.sources(tensor)) for name, tensor in _tensors(found)}
    except UNFIT:
        return {}


def _tensors(found: Any) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in found.items():
        if isinstance(name, str) and isinstance(tensor, Tensor):
            yield name, tensor


class _Tracing(TorchFunctionMode):
    """Knows of each tensor that is made within of which of the file's it was made."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self._sources = {id(piece.tensor): piece.sources for piece in pieces.values()}
        self._kept: list[Tensor] = []  # or another tensor could get the identity of one that is gone

    def sources(self, tensor: Tensor) -> tuple[str, ...]:
        return self._sources.get(id(tensor), ())

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        sources = dict.fromkeys(source for tensor in _within([args, kwargs]) for source in self.sources(tensor))
        for tensor in _within(made):
            if id(tensor) not in self._sources:
                self._sources[id(tensor)] = tuple(sources)
                self._kept.append(tensor)
        return made


def _within(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _within(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _within(part)
