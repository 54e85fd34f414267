"""`wise_ft`: between the unchanged source and a tuned network."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import Fraction
from app.methods.base import Info
from app.methods.fusion.family import FromAncestor, One


class WiseFt(FromAncestor):
    """(1 − α) of the checkpoint's weights and α of the tuned network's, at `points` α from 0 to 1.

    `alpha` null: the most accurate on the target's validation split, of equals the most accurate on the source's.
    `batch_norm`: as published, statistics are mixed like the weights (`merged`), and the curve's ends are the two
    networks as they are; `reestimated` takes them anew on the target's training images at every point, the ends too.
    """

    info = Info(
        summary="Weights between the unchanged source and a tuned network.",
        when="The tuned network forgot too much of the source, or is to see images like the source's, too.",
        needs=("checkpoint", "sources"),
        reference="Wortsman et al. 2022, Robust fine-tuning of zero-shot models",
        order=330,
    )

    choice = "alpha"

    examples = {
        "": {"sources": ["model_one1"], "points": 4, "labels_per_class": 1},
        "fixed": {"sources": ["model_one1"], "alpha": 0.5},
    }

    name: Literal["wise_ft"] = "wise_ft"
    sources: One
    alpha: Fraction | None = None
    batch_norm: Literal["merged", "reestimated"] = "merged"
    points: Annotated[int, Field(ge=2, le=101)] = 11

    @property
    def chooses(self) -> bool:
        return self.alpha is None
