"""`vrex`: as good in one environment as in the other."""

from typing import Literal

from app.methods.generalisation.family import Penalised, Weight


class Vrex(Penalised):
    """See `Penalised`.  The default weight is that of the paper's coloured digits; smaller ones hardly act."""

    name: Literal["vrex"] = "vrex"
    weight: Weight = 10_000.0
