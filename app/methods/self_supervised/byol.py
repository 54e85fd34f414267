"""`byol`: one view foretells what an averaged copy of the network makes of the other."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.self_supervised.family import Asymmetric


class Byol(Asymmetric):
    """`momentum_target` is the decay of the averaged copy at the start; it rises to 1 along half a cosine."""

    info = Info(
        summary="Features from images alone: one view foretells what an averaged copy of the network makes of the "
        "other.",
        when="As `simclr`, without pushing images apart: where many of a batch show the same.",
        takes=("checkpoint",),
        reference="Grill et al. 2020, Bootstrap your own latent",
        order=170,
    )

    examples = {"": {"network": SOME_NETWORK, "input": SOME_INPUT}}

    name: Literal["byol"] = "byol"
    momentum_target: Annotated[float, Field(ge=0, lt=1)] = 0.99
