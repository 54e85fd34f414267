"""`dare`: most of what each tuning changed is dropped at random, and the rest is made up for it."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.fusion.family import FromAncestor, Scale


class Dare(FromAncestor):
    """The checkpoint's weights w₀ + `scale` · Σ of what is left of each wᵢ − w₀, as in `task_arithmetic`.

    Every entry is dropped with the probability `drop`, drawn by the job's seed; what is left is divided by 1 − `drop`.
    """

    info = Info(
        summary="The source's weights and the sum of a few entries, drawn at random, of what several tunings changed.",
        when="As `task_arithmetic`, where many tunings get into each other's way and none went far from the source.",
        needs=("checkpoint", "sources"),
        reference="Yu et al. 2024, Language models are super Mario: absorbing abilities from homologous models",
        order=345,
    )

    choice = "scale"

    examples = {"": {"sources": ["model_one1", "model_two2", "model_three3"], "drop": 0.5}}

    name: Literal["dare"] = "dare"
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.9
    scale: Scale | Literal["validation"] = 0.3

    @property
    def chooses(self) -> bool:
        return self.scale == "validation"
