"""Parameters of self-supervised learning: from images alone."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contract.augmentation import (
    AugmentationStep,
    ColourJitter,
    GaussianBlur,
    Greyscale,
    RandomResizedCrop,
    Solarise,
)
from app.contract.base import OR_AUTO
from app.methods.start import Start

Width = Annotated[int, Field(ge=2, le=8192)]


class Pretraining(Start):
    """The result has one output, `unlabelled`: its features are what a transfer starts from."""

    headless = True

    batch_size: Annotated[Annotated[int, Field(ge=4, le=65_536)] | None, OR_AUTO] = None
    label_smoothing: Annotated[float, Field(ge=0, le=0)] = 0.0

    def _fewest_steps(self) -> int:
        return 1000


class TwoViews(Pretraining):
    """Two differently augmented views of every image are brought together; without `augmentation` they are the same.

    `second_augmentation` makes the second view; `auto` is what `augmentation` says, where that is a list, and else the
    method's own.  A perceptron on the features, `hidden` wide, gives the `dimensions` numbers that are compared; it is
    thrown away.
    """

    between_fields = ({"properties": {"augmentation": {"not": {"enum": ["none", []]}}}},)

    second_augmentation: Literal["auto"] | Annotated[list[AugmentationStep], Field(max_length=16)] = "auto"
    hidden: Width = 512
    dimensions: Width = 128

    @model_validator(mode="after")
    def _views_differ(self) -> Self:
        if self.augmentation in ("none", []):
            raise ValueError("without `augmentation` the two views of an image are the same: nothing is to be learnt")
        return self

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        closed = super().resolve(train_count, size)
        second = self.second_augmentation
        if second == "auto":
            first = self.augmentation
            second = list(first) if isinstance(first, list) else self._auto_second(size)
        return closed.model_copy(update={"second_augmentation": second})

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        """SimCLR's, as its authors have it for small images: jitter at half the strength, blur for larger ones alone.
        No flips: digits and letters have none."""
        jitter = ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8)
        return [CROP, jitter, Greyscale(p=0.2), *blur(size, 0.5)]

    def _auto_second(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return self._auto_augmentation(size)


class Asymmetric(TwoViews):
    """The views are of two distributions, BYOL's: the first is always blurred, the second hardly ever, but solarised at
    times."""

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return [CROP, BYOL_JITTER, Greyscale(p=0.2), *blur(size, 1.0)]

    def _auto_second(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return [CROP, BYOL_JITTER, Greyscale(p=0.2), *blur(size, 0.1), Solarise(p=0.2)]


CROP = RandomResizedCrop(scale=(0.3, 1.0))
BYOL_JITTER = ColourJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, p=0.8)
BLURRED_FROM = 64  # pixels a side; what is smaller has nothing to lose by a blur that is scaled down with it
PUBLISHED_SIDE = 224  # at which the papers draw a deviation from 0.1 to 2 pixels


def blur(size: tuple[int, int], p: float) -> list[AugmentationStep]:
    """The papers' blur, scaled from their images to these; none for small ones (Chen et al. 2020, appendix B.9)."""
    side = min(size)
    if side < BLURRED_FROM:
        return []
    return [GaussianBlur(p=p, sigma=(0.1, max(0.1, 2 * side / PUBLISHED_SIDE)))]
