"""`byol`: one view foretells what an averaged copy of the network makes of the other."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.self_supervised.family import Asymmetric


class Byol(Asymmetric):
    """`momentum_target` is the decay of the averaged copy at the start; it rises to 1 along half a cosine."""

    name: Literal["byol"] = "byol"
    momentum_target: Annotated[float, Field(ge=0, lt=1)] = 0.99
