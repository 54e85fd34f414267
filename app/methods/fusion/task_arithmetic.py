"""`task_arithmetic`: the sum of what several tunings changed."""

from typing import Literal

from app.methods.base import Info
from app.methods.fusion.family import FromAncestor, Scale


class TaskArithmetic(FromAncestor):
    """w₀ + `scale` · Σ (wᵢ − w₀); below 0 what was learned is taken away.

    `validation`: the best of 0, 0.1, …, 1 on the target's validation split.
    """

    info = Info(
        summary="The source's weights and the sum of what several tunings changed.",
        when="Tunings of one source on different data are to become one network that can do all of it.",
        needs=("checkpoint", "sources"),
        reference="Ilharco et al. 2023, Editing models with task arithmetic",
        order=340,
    )

    choice = "scale"

    examples = {
        "": {"sources": ["model_one1", "model_two2", "model_three3"]},
        "chosen": {"sources": ["model_one1", "model_two2", "model_three3"], "scale": "validation"},
    }

    name: Literal["task_arithmetic"] = "task_arithmetic"
    scale: Scale | Literal["validation"] = 0.3

    @property
    def chooses(self) -> bool:
        return self.scale == "validation"
