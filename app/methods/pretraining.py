"""Parameters of self-supervised learning: from images alone."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.methods.augmentation import AugmentationStep, ColourJitter, RandomResizedCrop
from app.methods.start import Start

Width = Annotated[int, Field(ge=2, le=8192)]


class Pretraining(Start):
    """The result has one output, `unlabelled`: its features are what a transfer starts from."""

    batch_size: Annotated[int, Field(ge=4, le=65_536)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, le=0)] = 0.0

    def _fewest_steps(self) -> int:
        return 1000


class TwoViews(Pretraining):
    """Two differently augmented views of every image are brought together.

    A perceptron on the features, `hidden` wide, gives the `dimensions` numbers that are compared; it is thrown away.
    """

    hidden: Width = 512
    dimensions: Width = 128

    @model_validator(mode="after")
    def _views_differ(self) -> Self:
        if self.augmentation in ("none", []):
            raise ValueError("without `augmentation` the two views of an image are the same: nothing is to be learnt")
        return self

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        """No flips: digits and letters have none."""
        return [RandomResizedCrop(scale=(0.3, 1.0)), ColourJitter()]
