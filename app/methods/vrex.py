"""`vrex`: as good in one environment as in the other."""

from typing import Literal

from app.methods.generalisation import Penalised, Weight


class Vrex(Penalised):
    """See `Penalised`."""

    name: Literal["vrex"] = "vrex"
    weight: Weight = 10.0
