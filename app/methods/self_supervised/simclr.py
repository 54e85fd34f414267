"""`simclr`: an image's two views know each other among all of the batch."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.self_supervised.family import TwoViews


class SimClr(TwoViews):
    """`temperature` divides the cosines of NT-Xent."""

    info = Info(
        summary="Features from images alone: the two views of an image know each other among all of the batch.",
        when="Many images without labels, batches of some hundred; the result is a source for any transfer.",
        takes=("checkpoint",),
        reference="Chen et al. 2020, A simple framework for contrastive learning of visual representations",
        order=150,
    )

    examples = {"": {"network": SOME_NETWORK, "input": SOME_INPUT}, "on": {"average": 0.9}}

    name: Literal["simclr"] = "simclr"
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.5
