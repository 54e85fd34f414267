"""`aad`: predictions attracted to those of the nearest images, and dispersed from the others'."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.source_free.family import Minimising
from app.methods.training import Rates


class Aad(Minimising):
    """Minimises −Σ pᵀq over the predictions q of an image's `neighbours`, plus λ · Σ pᵀp′ over the rest of its batch.

    Neighbours are the nearest features of other images, as they were when these were last seen.  λ falls with the
    progress t of the run as (1 + 10·t)^(−`decay`).
    """

    info = Info(
        summary="Adapt to images without labels: like predictions for near images, unlike ones for the others.",
        when="As the others of its kind, where classes are not equally frequent, or the source is often unsure.",
        needs=("checkpoint",),
        reference="Yang et al. 2022, Attracting and dispersing: a simple approach for source-free domain adaptation",
        order=385,
    )

    examples = {"": {}, "selected": {"selection": "entropy", "neighbours": 5, "decay": 0.0, "average": 0.9}}

    name: Literal["aad"] = "aad"
    neighbours: Annotated[int, Field(ge=1, le=100)] = 3
    decay: Annotated[float, Field(ge=0, le=100)] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, le=0)] = 0.0  # there are no labels

    def usual(self) -> Rates:
        """Three tenths of the rate: the loss is a sum over all of a batch, and at the whole networks break down."""
        usual = super().usual()
        return usual._replace(learning_rate=usual.learning_rate * 0.3)
