"""The input contract: what pixels a network expects.  It travels with the weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contract.base import StrictModel, either
from app.contract.record import Record

SMALLEST_OWN_SIDE, LARGEST_OWN_SIDE = 32, 224  # of a new network that takes any size
Side = Annotated[int, Field(ge=1, le=1024)]
Channels = Literal[1, 3]
Positive = Annotated[float, Field(gt=0, le=1e3)]
Finite = Annotated[float, Field(ge=-1e3, le=1e3)]


class InputSpec(StrictModel):
    """Pixels scaled to 0–1, then `(x - mean) / std` per channel, at `size` = (height, width).

    `fit` says how an image of another shape comes to `size`: `stretch` ignores its aspect, `pad` keeps it and
    fills with black.  `margin` pixels on every side stay empty (images are fitted to what is left), and something is
    to be left.  `mean` and `std` have one number per channel, of values from 0 to 1.
    """

    between_fields = (
        either(
            {"channels": {"const": 1}, "mean": {"maxItems": 1}, "std": {"maxItems": 1}},
            {"channels": {"const": 3}, "mean": {"minItems": 3}, "std": {"minItems": 3}},
        ),
    )
    size: tuple[Side, Side]
    channels: Channels
    mean: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=3)]
    std: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    fit: Literal["stretch", "pad"] = "stretch"
    margin: Annotated[int, Field(ge=0, le=256)] = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (*self.size, self.channels)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError("mean and std need one number per channel")
        if 2 * self.margin >= min(self.size):
            raise ValueError("margin leaves no room for the image")
        return self


class InputShape(Record):
    """Pixels scaled to 0–1, then `(x - mean) / std` per channel, at `size` = [height, width]."""

    size: tuple[int, int]
    channels: int
    mean: list[float]
    std: list[float]
    fit: str
    margin: int


class InputOverride(StrictModel):
    """A job may fit its target's images into the network's input in its own way.

    `size` (height, width) brings the source to another size: as far as its weights go with any, as those of
    convolutions and, resampled, embeddings of positions do.
    """

    size: tuple[Side, Side] | None = None
    fit: Literal["stretch", "pad"] | None = None
    margin: Annotated[int, Field(ge=0, le=256)] | None = None

    def apply(self, spec: InputSpec) -> InputSpec:
        return InputSpec(**(spec.model_dump() | self.model_dump(exclude_none=True)))


def own_size(height: int, width: int) -> tuple[int, int]:
    """The size at which a library's network is drawn for images of a dataset, if nobody says another.

    Below 32 pixels a side most of them leave nothing of an image, above 224 they cost more than they commonly do.
    """
    return _own_side(height), _own_side(width)


def _own_side(side: int) -> int:
    return min(max(side, SMALLEST_OWN_SIDE), LARGEST_OWN_SIDE)
