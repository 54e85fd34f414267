"""`quantize`: a model's graph in eight bits, if it loses no more than it may."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Parameters


class Quantize(Parameters):
    """Static quantisation, calibrated on `images` training images of the dataset.

    It is refused where accuracy on the validation split falls by more than `max_accuracy_drop`, or the score of the
    likeliest class of any image moves by more than `max_score_shift`.
    """

    name: Literal["quantize"] = "quantize"
    precision: Literal["int8"] = "int8"
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_score_shift: Annotated[float, Field(ge=0, le=1)] = 0.25
    images: Annotated[int, Field(ge=1, le=10_000)] = 256
