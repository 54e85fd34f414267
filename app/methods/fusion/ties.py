"""`ties`: trim, elect signs, merge what agrees."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.fusion.family import FromAncestor, Scale


class Ties(FromAncestor):
    """Of each wᵢ − w₀ the share `keep` of the largest entries stays; where signs differ the weightier one wins, and the
    mean is over the entries that have it.  `scale` as in `task_arithmetic`.
    """

    name: Literal["ties"] = "ties"
    keep: Annotated[float, Field(gt=0, le=1)] = 0.2
    scale: Scale | Literal["validation"] = 1.0

    @property
    def chooses(self) -> bool:
        return self.scale == "validation"
