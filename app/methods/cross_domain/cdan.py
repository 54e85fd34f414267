"""`cdan`: the discriminator sees features and predictions together."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.cross_domain.dann import Hidden
from app.methods.cross_domain.family import CrossDomain


class Cdan(CrossDomain):
    """As `dann`, on the outer product of features and predicted probabilities.

    `entropy`: sure predictions count more (CDAN+E).  `randomised`: the product through random maps of `dimension`
    numbers; left out, where it has more than 4,096 of its own.
    """

    name: Literal["cdan"] = "cdan"
    hidden: Hidden = 256
    entropy: bool = True
    randomised: bool | None = None
    dimension: Annotated[int, Field(ge=1, le=65_536)] = 1024
