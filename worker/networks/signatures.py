"""Signatures of the networks that a file may be of: the shapes of their weights, in order, without any name.

Classes, channels and size of a network stand in some of its shapes.  Each network is built twice on the meta device,
with other numbers of all three, and what differs between the two is what depends on them.
"""

import json
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, Literal

import timm
from torch import Tensor

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import build, cifar_resnet, cnn3, from_timm, from_torchvision, mnist_cnn, wide_resnet
from worker.networks.load import is_weight
from worker.runtime.contract import Failure

SHIPPED = Path(__file__).with_name("signatures.json.xz")
FORMAT = 1
CLASSES, OTHER_CLASSES = 1000, 1009  # a prime, that no other side of a tensor is a multiple of
CIFAR_DEPTHS = (*range(8, 111, 6), 1202)  # those of the paper, and what lies between
WIDE_DEPTHS, WIDE_FACTORS = range(10, 41, 6), (1, 2, 3, 4, 5, 6, 8, 10, 12)
SIZES = (Fraction(2), Fraction(1, 2), Fraction(3, 2))  # times the usual one, tried until one can be built
MOST_PIXELS = 1024  # a side, see `InputSpec`

Dims = tuple[int, ...]
Free = Literal["classes", "channels", "size"]
Other = tuple[int, int, int]  # classes, channels, side


@dataclass(frozen=True)
class Shape:
    """The shape of a weight as the network is usually built, `dims`; and `other`, as it is otherwise.

    `free` says what the sides that differ depend on; None where none does.
    """

    dims: Dims
    other: Dims
    free: Free | None = None

    def fits(self, dims: Dims) -> bool:
        """Tell whether a weight of these `dims` may be this one, with some number of classes, channels or patches."""
        if self.free is None or len(dims) != len(self.dims):
            return dims == self.dims
        return all(
            usual == side or usual != other for usual, other, side in zip(self.dims, self.other, dims, strict=True)
        )

    def solve(self, dims: Dims, usual: int, other: int) -> int | None:
        """The value at which this weight has these `dims`, where it has `self.dims` at `usual` and `self.other` at
        `other`, in between linearly; None where there is no whole one."""
        for side, at_usual, at_other in zip(dims, self.dims, self.other, strict=True):
            if at_usual != at_other:
                value = usual + Fraction((side - at_usual) * (other - usual), at_other - at_usual)
                return int(value) if value.denominator == 1 and value > 0 else None
        return None


@dataclass(frozen=True)
class Signature:
    """A network that can be named, and the shapes of its weights in the order of its `state_dict`.

    `usual` and `other` are the numbers of classes, channels and pixels a side for which these have their `dims`, and
    their `other`.
    """

    name: str
    options: Mapping[str, Any]
    shapes: Sequence[Shape]
    usual: Other
    other: Other
    fixed: Mapping[Dims, int] = field(default_factory=dict)  # how many weights have these dims whatever is asked for
    free: Sequence[Shape] = ()

    @property
    def label(self) -> str:
        """The name with its options, such as `cifar_resnet (depth 20)`."""
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{self.name} ({options})" if options else self.name

    @property
    def wanted(self) -> int:
        """The number of weights but for those that depend on the classes."""
        return sum(self.fixed.values()) + sum(shape.free != "classes" for shape in self.free)


def versions() -> dict[str, str]:
    """The libraries' versions that decide what the signatures are; needs none of them."""
    return {"format": str(FORMAT), "timm": version("timm"), "torchvision": version("torchvision")}


def read(path: Path) -> list[Signature]:
    """Read signatures as `write` wrote them."""
    return list(_read(path))


@lru_cache(maxsize=1)
def _read(path: Path) -> tuple[Signature, ...]:
    document = json.loads(lzma.decompress(path.read_bytes()))
    shapes = [Shape(tuple(dims), tuple(other), free) for dims, other, free in document["shapes"]]
    return tuple(
        _signature(entry["name"], entry["options"], [shapes[i] for i in entry["shapes"]], *map(tuple, entry["at"]))
        for entry in document["networks"]
    )


def versions_in(path: Path) -> dict[str, str] | None:
    """The versions for which a file of signatures was written; None where there is no such file."""
    try:
        document: dict[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
        return {name: str(text) for name, text in document["versions"].items()}
    except (OSError, lzma.LZMAError, ValueError, KeyError, AttributeError):
        return None


def write(path: Path, signatures: Iterable[Signature]) -> None:
    """Write signatures, compressed; the same bytes for the same signatures."""
    numbers: dict[Shape, int] = {}
    networks = [
        {
            "name": one.name,
            "options": dict(one.options),
            "at": [one.usual, one.other],
            "shapes": [numbers.setdefault(shape, len(numbers)) for shape in one.shapes],
        }
        for one in signatures
    ]
    shapes = [(shape.dims, shape.other, shape.free) for shape in numbers]
    document = {"versions": versions(), "shapes": shapes, "networks": networks}
    path.write_bytes(lzma.compress(json.dumps(document, separators=(",", ":")).encode(), preset=9))


def compute(named: Iterable[NetworkSpec]) -> Iterator[Signature]:
    """Compute the signatures of networks, of all `specs` in minutes of one core; what has none is left out."""
    for spec in named:
        signature = of(spec)
        if signature is not None:
            yield signature


def specs() -> Iterator[NetworkSpec]:
    """Name every network that a file may be of, with so many classes as ImageNet has."""
    yield NetworkSpec(name=cnn3.NAME, num_classes=CLASSES)
    for depth in CIFAR_DEPTHS:
        yield NetworkSpec(name=cifar_resnet.NAME, num_classes=CLASSES, options={"depth": depth})
    yield NetworkSpec(name=mnist_cnn.NAME, num_classes=CLASSES)
    for depth, factor in product(WIDE_DEPTHS, WIDE_FACTORS):
        options = {"depth": depth, "widen_factor": factor}
        yield NetworkSpec(name=wide_resnet.NAME, num_classes=CLASSES, options=options)
    for name in from_torchvision.names():
        yield NetworkSpec(name=from_torchvision.PREFIX + name, num_classes=CLASSES)
    for name in timm.list_models():
        yield NetworkSpec(name=from_timm.PREFIX + name, num_classes=CLASSES)


def of(spec: NetworkSpec) -> Signature | None:
    """The signature of a network; None where it cannot be built for other classes, or has no class scores."""
    input = build.usual_input(spec)
    if input is None:
        return None
    try:
        usual = _dims(spec, input)
    except Failure:
        return None
    for other_spec, other_input in _others(spec, input):
        try:
            other = _dims(other_spec, other_input)
        except Failure:
            continue
        if [len(dims) for dims in usual] == [len(dims) for dims in other]:
            shapes = [Shape(a, b, _free(a, b)) for a, b in zip(usual, other, strict=True)]
            at, then = _at(spec, input), _at(other_spec, other_input)
            known = any(shape.free == "classes" for shape in shapes)
            return _signature(spec.name, spec.options, shapes, at, then) if known else None
    return None


def _others(spec: NetworkSpec, input: InputSpec) -> Iterator[tuple[NetworkSpec, InputSpec]]:
    """Change the classes, and if it can be the channels and the size."""
    other = spec.model_copy(update={"num_classes": OTHER_CLASSES})
    channels = 1 if input.channels == 3 else 3
    update = {"channels": channels, "mean": input.mean[:1] * channels, "std": input.std[:1] * channels}
    for recoloured in (input.model_copy(update=update), input):
        for factor in SIZES:
            size = tuple(int(side * factor) for side in input.size)
            if max(size) <= MOST_PIXELS:
                yield other, recoloured.model_copy(update={"size": size})
        yield other, recoloured


def _free(dims: Dims, other: Dims) -> Free | None:
    """Tell what a shape depends on that is `dims` in one network and `other` in the other."""
    for usual, new in zip(dims, other, strict=True):
        if usual != new and usual * OTHER_CLASSES == new * CLASSES:
            return "classes"
        if usual in (3 * new, new / 3):
            return "channels"
    return None if dims == other else "size"


def _at(spec: NetworkSpec, input: InputSpec) -> Other:
    return spec.num_classes, input.channels, input.size[0]


def _signature(name: str, options: Mapping[str, Any], shapes: Sequence[Shape], usual: Other, other: Other) -> Signature:
    fixed: dict[Dims, int] = {}
    for shape in shapes:
        if shape.free is None:
            fixed[shape.dims] = fixed.get(shape.dims, 0) + 1
    free = [shape for shape in shapes if shape.free is not None]
    return Signature(name, options, shapes, usual, other, fixed, free)


def _dims(spec: NetworkSpec, input: InputSpec) -> list[Dims]:
    state: dict[str, Tensor] = build.outline(spec, input).state_dict()
    return [tuple(tensor.shape) for name, tensor in state.items() if is_weight(name, tensor)]


if __name__ == "__main__":
    write(SHIPPED, compute(specs()))
