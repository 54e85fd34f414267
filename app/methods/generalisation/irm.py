"""`irm`: features on which one classifier is the best in every environment."""

from typing import Literal

from app.methods.generalisation.family import Penalised, Weight


class Irm(Penalised):
    """See `Penalised`."""

    name: Literal["irm"] = "irm"
    weight: Weight = 100.0
