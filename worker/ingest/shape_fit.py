"""A comparison of a file's weights with the signatures of all networks, by their shapes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt

from torch import Tensor

from worker.ingest.adopt import HEADS
from worker.ingest.structural import WeightSet, sets
from worker.networks.signatures import Dims, Shape, Signature

COMPARED = 24  # networks that fit best by the shapes that depend on nothing, and are compared in full


@dataclass(frozen=True)
class Fit:
    """A network that fits a set of weights, more or less.

    `found` of its `wanted` weights are there, those of its head not counted; `left_over` are the names of the file's
    weights that it has no place for.  What is None does not stand in the shapes: `num_classes`, as where the set has
    no head, or several layers may be it; `channels`; and `side`, in pixels.
    """

    signature: Signature
    set: WeightSet
    found: int
    left_over: Sequence[str] = field(default=(), repr=False)
    num_classes: int | None = None
    channels: int | None = None
    side: int | None = None

    @property
    def complete(self) -> bool:
        return self.found == self.signature.wanted and not self.left_over

    @property
    def used(self) -> int:
        return len(self.set.dims) - len(self.left_over)

    @property
    def share(self) -> float:
        """The share of the network's weights that was found, times that of the set's that have a place in it."""
        return self.found / max(self.signature.wanted, 1) * self.used / max(len(self.set.dims), 1)


def rank(tensors: Mapping[str, Tensor], known: Sequence[Signature]) -> list[Fit]:
    """The networks that fit any set of weights among `tensors`, the best first; those that fit alike as they are in
    `known`, but of complete ones the largest first."""
    fits = [fit for one in sets(tensors) for fit in _fits(one, known)]
    return sorted(fits, key=lambda fit: (not fit.complete, -fit.share, -len(fit.set.dims)))


def _fits(one: WeightSet, known: Sequence[Signature]) -> Iterator[Fit]:
    given = Counter(one.dims.values())
    shares = []
    for number, signature in enumerate(known):
        found = sum(min(count, given[dims]) for dims, count in signature.fixed.items() if dims in given)
        shares.append((-found / max(signature.wanted, 1) * found / len(one.dims), number))
    for share, number in sorted(shares)[:COMPARED]:
        if share:
            yield _fit(one, given, known[number])


def _fit(one: WeightSet, given: Counter[Dims], signature: Signature) -> Fit:
    rest = given.copy()
    rest.subtract({dims: min(count, given[dims]) for dims, count in signature.fixed.items()})
    rest = +rest
    found = len(one.dims) - rest.total()
    values: dict[str, set[int] | None] = {"classes": None, "channels": None, "size": None}
    taken: list[Dims] = []
    for shape in sorted(signature.free, key=lambda shape: shape.free == "classes"):
        assert shape.free is not None
        fitting = [dims for dims in rest if shape.fits(dims)]
        found += bool(fitting) and shape.free != "classes"
        at = {dims: value for dims in fitting if (value := _value(signature, shape, dims)) is not None}
        before = values[shape.free]
        values[shape.free] = set(at.values()) if before is None else before & set(at.values())
        if fitting:
            best = shape.dims if shape.dims in fitting else fitting[0]
            taken.append(best)
            rest[best] -= 1
            rest = +rest
    return Fit(
        signature,
        one,
        found,
        _left_over(one, rest),
        _only(values["classes"]),
        _only(values["channels"]),
        _only(values["size"]),
    )


def _value(signature: Signature, shape: Shape, dims: Dims) -> int | None:
    (classes, channels, side), (other_classes, other_channels, other_side) = signature.usual, signature.other
    match shape.free:
        case "classes":
            return shape.solve(dims, classes, other_classes)
        case "channels":
            return shape.solve(dims, channels, other_channels)
        case _:
            area = shape.solve(dims, side**2, other_side**2)
            return isqrt(area) if area is not None and isqrt(area) ** 2 == area else None


def _left_over(one: WeightSet, rest: Counter[Dims]) -> list[str]:
    """The names of weights without a place; heads need none, whatever they are called in this file."""
    left = +rest
    names = [name for name in one.dims if not HEADS & set(name.split("."))]
    for name in (name for name in one.dims if HEADS & set(name.split("."))):
        left[one.dims[name]] -= 1
    left = +left
    over = []
    for name in reversed(names):
        if left[one.dims[name]] > 0:
            left[one.dims[name]] -= 1
            over.append(name)
    return over[::-1]


def _only(values: set[int] | None) -> int | None:
    return next(iter(values)) if values is not None and len(values) == 1 else None
