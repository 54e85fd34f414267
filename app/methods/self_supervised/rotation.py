"""`rotation`: by which of four quarter turns an image was turned."""

from typing import Literal, Self

from pydantic import model_validator

from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.self_supervised.family import Pretraining


class Rotation(Pretraining):
    """Pretraining by quarter turns, for square images that have an upright: not for data that look alike when turned.
    `input` is square, too."""

    info = Info(
        summary="Features from images alone: by which quarter turn an image was turned.",
        when="Images with an upright, and little time: it needs no large batches.",
        takes=("checkpoint",),
        reference="Gidaris, Singh & Komodakis 2018, Unsupervised representation learning by predicting image rotations",
        order=180,
    )

    examples = {"": {"network": SOME_NETWORK, "input": SOME_INPUT}}

    name: Literal["rotation"] = "rotation"

    @model_validator(mode="after")
    def _square(self) -> Self:
        if self.input is not None and self.input.size[0] != self.input.size[1]:
            raise ValueError("quarter turns need an `input` as high as it is wide")
        return self
