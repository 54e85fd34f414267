"""`wise_ft`: between the unchanged source and a tuned network."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Fraction
from app.methods.fusion import FromAncestor, One


class WiseFt(FromAncestor):
    """(1 − α) of the checkpoint's weights and α of the tuned network's, at `points` α from 0 to 1.

    `alpha` null: the most accurate on the target's validation split, of equals the most accurate on the source's.
    """

    name: Literal["wise_ft"] = "wise_ft"
    sources: One
    alpha: Fraction | None = None
    points: Annotated[int, Field(ge=2, le=101)] = 11

    @property
    def chooses(self) -> bool:
        return self.alpha is None
