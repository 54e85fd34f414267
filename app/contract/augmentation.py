"""Augmentation as data: a list of named steps, applied in order to every training batch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.contract.base import Fraction, StrictModel

MAGNITUDES = 31  # of RandAugment, as torchvision numbers them: 0 to 30


def _ordered(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError("the smaller number comes first")
    return values


Zoom = Annotated[float, Field(ge=0.2, le=5)]
Share = Annotated[float, Field(gt=0, le=1)]
Aspect = Annotated[float, Field(ge=0.05, le=20)]
ORDERED = Field(description="From the first number to the second, which is no smaller.")
Zooms = Annotated[tuple[Zoom, Zoom], AfterValidator(_ordered), ORDERED]
Shares = Annotated[tuple[Share, Share], AfterValidator(_ordered), ORDERED]
Aspects = Annotated[tuple[Aspect, Aspect], AfterValidator(_ordered), ORDERED]
Deviation = Annotated[float, Field(gt=0, le=20)]
Deviations = Annotated[tuple[Deviation, Deviation], AfterValidator(_ordered), ORDERED]
Strength = Annotated[float, Field(ge=0, le=10)]


class RandomCrop(StrictModel):
    """Pad by `padding` black pixels on each side, then cut the original size at a random place."""

    name: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=1, le=64)] = 4


class HorizontalFlip(StrictModel):
    """Mirror left and right with probability `p`.  Not for digits or letters."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Fraction = 0.5


class VerticalFlip(StrictModel):
    """Mirror top and bottom with probability `p`: for images from above, not for those with a ground."""

    name: Literal["vertical_flip"] = "vertical_flip"
    p: Fraction = 0.5


class RandomAffine(StrictModel):
    """Rotate by up to ±`degrees`, shift by up to `translate` of each side, scale within `scale`; black outside."""

    name: Literal["affine"] = "affine"
    degrees: Annotated[float, Field(ge=0, le=180)] = 10
    translate: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    scale: Zooms = (0.9, 1.1)


class ColourPermutation(StrictModel):
    """Shuffle the colour channels at random with probability `p`."""

    name: Literal["colour_permutation"] = "colour_permutation"
    p: Fraction = 0.5


class RandomResizedCrop(StrictModel):
    """Cut out `scale` of the image's area with a width of `ratio` times the height, and bring that to the image's size.

    Szegedy et al. 2015, Going deeper with convolutions, section 6.
    """

    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: Shares = (0.08, 1.0)
    ratio: Aspects = (3 / 4, 4 / 3)


class ColourJitter(StrictModel):
    """Multiply, with probability `p`, brightness, contrast and saturation by a factor from 1 − x to 1 + x each, and
    turn the hue by up to `hue` of the circle either way, in a random order.  Grey images have neither saturation nor
    hue."""

    name: Literal["colour_jitter"] = "colour_jitter"
    brightness: Strength = 0.4
    contrast: Strength = 0.4
    saturation: Strength = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    p: Fraction = 1.0


class Greyscale(StrictModel):
    """Make an image grey with probability `p`: all channels its luma (Chen et al. 2020, appendix A)."""

    name: Literal["greyscale"] = "greyscale"
    p: Fraction = 0.2


class GaussianBlur(StrictModel):
    """Blur with probability `p` by a Gaussian whose deviation, in pixels, is drawn from `sigma` (Chen et al. 2020,
    appendix A, have 0.1 to 2 at 224 pixels)."""

    name: Literal["gaussian_blur"] = "gaussian_blur"
    p: Fraction = 0.5
    sigma: Deviations = (0.1, 2.0)


class Solarise(StrictModel):
    """Invert, with probability `p`, all values from `threshold` of 255 on (Grill et al. 2020, appendix B)."""

    name: Literal["solarise"] = "solarise"
    p: Fraction = 0.2
    threshold: Annotated[int, Field(ge=0, le=255)] = 128


class RandAugment(StrictModel):
    """`num_ops` operations drawn from fourteen, all of one `magnitude` (Cubuk et al. 2020)."""

    name: Literal["rand_augment"] = "rand_augment"
    num_ops: Annotated[int, Field(ge=1, le=8)] = 2
    magnitude: Annotated[int, Field(ge=0, lt=MAGNITUDES)] = 9


class TrivialAugment(StrictModel):
    """One operation drawn from fourteen, of a magnitude that is drawn too (Müller & Hutter 2021, the wide space)."""

    name: Literal["trivial_augment"] = "trivial_augment"


class RandomErasing(StrictModel):
    """Make, with probability `p`, a box of `scale` of the image's area black (Zhong et al. 2020).

    Its height is `ratio` times its width; a box that would not fit is drawn again, ten times at most.
    """

    name: Literal["random_erasing"] = "random_erasing"
    p: Fraction = 0.5
    scale: Shares = (0.02, 0.33)
    ratio: Aspects = (0.3, 3.3)


AugmentationStep = Annotated[
    RandomCrop
    | RandomResizedCrop
    | HorizontalFlip
    | VerticalFlip
    | RandomAffine
    | ColourPermutation
    | ColourJitter
    | Greyscale
    | GaussianBlur
    | Solarise
    | RandAugment
    | TrivialAugment
    | RandomErasing,
    Field(discriminator="name"),
]
