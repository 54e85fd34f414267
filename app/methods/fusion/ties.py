"""`ties`: trim, elect signs, merge what agrees."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.fusion.family import FromAncestor, Scale


class Ties(FromAncestor):
    """The share `keep` of the largest entries of each wᵢ − w₀ stays; where signs differ the weightier one wins, and the
    mean is over the entries that have it.  `scale` as in `task_arithmetic`."""

    info = Info(
        summary="The source's weights and the large changes of several tunings; where signs differ, the weightier one.",
        when="As `task_arithmetic`, where tunings disagree.",
        needs=("checkpoint", "sources"),
        reference="Yadav et al. 2023, TIES-merging: resolving interference when merging models",
        order=350,
    )

    choice = "scale"

    examples = {"": {"sources": ["model_one1", "model_two2", "model_three3"]}}

    name: Literal["ties"] = "ties"
    keep: Annotated[float, Field(gt=0, le=1)] = 0.2
    scale: Scale | Literal["validation"] = 1.0

    @property
    def chooses(self) -> bool:
        return self.scale == "validation"
