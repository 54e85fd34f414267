"""`vrex`: as good in one environment as in the other."""

from typing import Literal

from app.methods.base import Info
from app.methods.generalisation.family import Penalised, Weight


class Vrex(Penalised):
    """Risk extrapolation, with the parameters of `Penalised`.

    The default weight is that of the paper's coloured digits; smaller ones hardly act.
    """

    info = Info(
        summary="A network that is as good in one environment as in the other.",
        when="As `irm`, and steadier; the environments' labels are equally noisy.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Krueger et al. 2021, Out-of-distribution generalization via risk extrapolation",
        order=210,
    )

    examples = {"": {"environments": ["ds_here", "ds_there"], "penalty_from": 7, "validation": "ds_yonder"}}

    name: Literal["vrex"] = "vrex"
    weight: Weight = 10_000.0
