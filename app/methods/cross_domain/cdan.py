"""`cdan`: the discriminator sees features and predictions together."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.cross_domain.family import CrossDomain, Hidden


class Cdan(CrossDomain):
    """A domain discriminator as in `dann`, on the outer product of features and predicted probabilities.

    `entropy`: sure predictions count more (CDAN+E).  `randomised`: the product through random maps of `dimension`
    numbers; left out, where it has more than 4,096 of its own.
    """

    info = Info(
        summary="Features by which a discriminator that sees predictions, too, cannot tell source from target.",
        when="As `dann`, where the source's predictions on the target are mostly right already.",
        needs=("checkpoint", "source_data"),
        reference="Long et al. 2018, Conditional adversarial domain adaptation",
        order=260,
    )

    examples = {"": {}, "random_map": {"entropy": False, "randomised": True, "dimension": 16, "average": 0.9}}

    name: Literal["cdan"] = "cdan"
    hidden: Hidden = 256
    entropy: bool = True
    randomised: bool | None = None
    dimension: Annotated[int, Field(ge=1, le=65_536)] = 1024
