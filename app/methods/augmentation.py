"""Augmentation as data: a list of named steps, applied in order to every training batch."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Closed, Fraction


class RandomCrop(Closed):
    """Pad by `padding` black pixels on each side, then cut the original size at a random place."""

    name: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=1, le=64)] = 4


class HorizontalFlip(Closed):
    """Mirror left and right with probability `p`.  Not for digits or letters."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Fraction = 0.5


class RandomAffine(Closed):
    """Rotate by up to ±`degrees`, shift by up to `translate` of each side, scale within `scale`; black outside."""

    name: Literal["affine"] = "affine"
    degrees: Annotated[float, Field(ge=0, le=180)] = 10
    translate: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    scale: tuple[Annotated[float, Field(ge=0.2, le=5)], Annotated[float, Field(ge=0.2, le=5)]] = (0.9, 1.1)


class ColourPermutation(Closed):
    """Shuffle the colour channels at random with probability `p`."""

    name: Literal["colour_permutation"] = "colour_permutation"
    p: Fraction = 0.5


AugmentationStep = Annotated[
    RandomCrop | HorizontalFlip | RandomAffine | ColourPermutation, Field(discriminator="name")
]
