"""`quantize`: a model's graph in eight bits, if it loses no more than it may."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from app.core.errors import Detail
from app.methods.base import Info, Method
from app.methods.facts import JobFacts, fault


class Quantize(Method):
    """Static quantisation, calibrated on `images` training images of the dataset.

    It is refused where accuracy on the validation split falls by more than `max_accuracy_drop`, or the score of the
    likeliest class of any image moves by more than `max_score_shift`.
    """

    info = Info(
        summary="Serve a model in eight bits, if it loses no more than it may.",
        when="Predictions are to be faster, and a little less exact.",
        needs=("checkpoint", "target_labels"),
        reference="Jacob et al. 2018, Quantization and training of neural networks for integer-arithmetic-only "
        "inference",
        gives_model=False,
        order=410,
    )

    asks_source = True

    examples = {"": {"max_accuracy_drop": 1.0, "max_score_shift": 1.0}}

    name: Literal["quantize"] = "quantize"
    precision: Literal["int8"] = "int8"
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_score_shift: Annotated[float, Field(ge=0, le=1)] = 0.25
    images: Annotated[int, Field(ge=1, le=10_000)] = 256

    def check_networks(self, facts: JobFacts) -> Iterator[Detail]:
        if facts.source is not None and not facts.source.is_model:
            yield fault("checkpoint", f"What is quantised is a model, and {facts.source.id} is a checkpoint.")
