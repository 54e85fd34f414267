"""`reg_mean`: the layers that come nearest to what each source's gives of the same images."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Fraction
from app.methods.fusion import Fusing, Several


class RegMean(Fusing):
    """Linear and convolution layers by least squares on their inputs, in closed form; everything else is the mean.

    The inputs are those of `images` training images of the target, evenly spaced.  `off_diagonal` scales their inner
    products but for the diagonal: 1 is least squares, 0 a mean weighed by the inputs' energy.
    """

    name: Literal["reg_mean"] = "reg_mean"
    sources: Several
    off_diagonal: Fraction = 0.9
    images: Annotated[int, Field(ge=1, le=100_000)] = 1000
