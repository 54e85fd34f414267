"""Reference answers: what a network makes of validation images, which its later answers are compared with."""

from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.contract.record import Record

LEVELS = 101  # of the quantiles: 0, 1, … 100 %


class Reference(Record):
    """A network's answers for the validation images of the dataset that it was adapted to; no label is read.

    `energy` are quantiles of −log Σ exp(zₖ) over the logits (where an image may have several labels: of
    −Σ log(1 + exp(zₖ))) at 0, 1, … 100 %; left out where a head gives probabilities alone, so that all are the same.
    `priors` are the mean probabilities of the classes, in their order; left out where an image may have several.
    """

    images: Annotated[int, Field(ge=1)]
    energy: Annotated[list[float] | None, SkipJsonSchema()] = None
    priors: Annotated[list[float] | None, SkipJsonSchema()] = None
