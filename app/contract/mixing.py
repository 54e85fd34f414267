"""Mixing images and their labels two by two, batch by batch."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import Fraction, StrictModel

Alpha = Annotated[float, Field(gt=0, le=100)]


class Mixup(StrictModel):
    """x = λx₁ + (1 − λ)x₂ with λ ~ Beta(`alpha`, `alpha`), in a share `p` of the batches (Zhang et al. 2018)."""

    name: Literal["mixup"] = "mixup"
    alpha: Alpha = 0.2
    p: Fraction = 1.0


class Cutmix(StrictModel):
    """A box of x₂ in x₁, of 1 − λ of its area, in a share `p` of the batches (Yun et al. 2019)."""

    name: Literal["cutmix"] = "cutmix"
    alpha: Alpha = 1.0
    p: Fraction = 1.0


Mixing = Annotated[Mixup | Cutmix, Field(discriminator="name")]
