"""`simclr`: an image's two views know each other among all of the batch."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.self_supervised.family import TwoViews


class SimClr(TwoViews):
    """`temperature` divides the cosines of NT-Xent."""

    name: Literal["simclr"] = "simclr"
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.5
