"""`vicreg`: two views alike, every dimension alive, no two dimensions alike."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.self_supervised.family import Asymmetric, Width

Weight = Annotated[float, Field(ge=0, le=1e6)]


class VicReg(Asymmetric):
    """The weights of its three parts: the views' mean squared difference, the mean of their variance terms, and the sum
    of their covariance terms, as in the authors' code."""

    info = Info(
        summary="Features from images alone: two views alike, no dimension constant, no two dimensions alike.",
        when="As `simclr`, where batches are smaller or several images may show the same.",
        takes=("checkpoint",),
        reference="Bardes, Ponce & LeCun 2022, VICReg: variance-invariance-covariance regularization",
        order=160,
    )

    examples = {"": {"network": SOME_NETWORK, "input": SOME_INPUT}}

    name: Literal["vicreg"] = "vicreg"
    dimensions: Width = 512
    invariance: Weight = 25.0
    variance: Weight = 25.0
    covariance: Weight = 1.0
