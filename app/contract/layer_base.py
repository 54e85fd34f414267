"""`Layer`: what all layers of a `layers` network share, and the arithmetic of their shapes.

Shapes are those of one example: (C, H, W), or (D,).
"""

from typing import Annotated, Self, TypeVar

from pydantic import Field

from app.contract.base import StrictModel

Shape = tuple[int, ...]
V = TypeVar("V")

Width = Annotated[int, Field(ge=1, le=100_000)]
Extent = Annotated[int, Field(ge=1, le=1024)]
Padding = Annotated[int, Field(ge=0, le=1024)]
Extents = Extent | tuple[Extent, Extent]
Paddings = Padding | tuple[Padding, Padding]
Epsilon = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e3, le=1e3)]
ChildName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", max_length=64)]


class Layer(StrictModel):
    """`name` is the layer's own in its group; without one it is numbered, as in torch.nn.Sequential."""

    name: ChildName | None = None

    def filled(self, shape: Shape) -> Self:
        """The layer itself, its input sizes filled in from the `shape` that comes in.

        Raises:
            ValueError: it cannot take that shape, or was given another size.
        """
        return self

    def output(self, shape: Shape) -> Shape:
        """The shape that a filled layer makes of `shape`.

        Raises:
            ValueError: nothing is left of it.
        """
        return shape

    @property
    def weighted(self) -> bool:
        """Tell whether the layer has parameters."""
        return False

    def parameters(self) -> int:
        """The number of parameters of a filled layer."""
        return 0

    def fill(self, size: str, actual: object) -> Self:
        declared = getattr(self, size)
        if declared is not None and declared != actual:
            raise ValueError(f"{size} is {plain(declared)}, but what comes in has {plain(actual)}")
        return self.model_copy(update={size: actual})


def image(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"it takes [C,H,W], but what comes in is {list(shape)}")
    return shape


def vector(shape: Shape) -> int:
    if len(shape) != 1:
        raise ValueError(f"it takes [D], but what comes in is {list(shape)}: put a Flatten before it")
    return shape[0]


def slid(
    shape: Shape, kernel: Extents, stride: Extents, padding: Paddings, dilation: Extents, ceil: bool = False
) -> list[int]:
    """Height and width left by a window that slides over `shape`."""
    sides = []
    for axis, side in enumerate(shape[1:]):
        k, s, p, d = (pair(value)[axis] for value in (kernel, stride, padding, dilation))
        room = side + 2 * p - d * (k - 1) - 1
        new = (room + (s - 1) * ceil) // s + 1
        sides.append(new - 1 if ceil and (new - 1) * s >= side + p else new)  # the last window must begin inside
    return remaining(sides)


def remaining(sides: list[int]) -> list[int]:
    if min(sides) < 1:
        raise ValueError("nothing is left of the image: it is smaller than the window")
    return sides


def pair(value: V | tuple[V, V]) -> tuple[V, V]:
    return value if isinstance(value, tuple) else (value, value)


def plain(size: object) -> object:
    return list(size) if isinstance(size, tuple) else size
