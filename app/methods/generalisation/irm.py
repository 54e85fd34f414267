"""`irm`: features on which one classifier is the best in every environment."""

from typing import Literal

from app.methods.base import Info
from app.methods.generalisation.family import Penalised, Weight


class Irm(Penalised):
    """Invariant risk minimisation, with the parameters of `Penalised`."""

    info = Info(
        summary="Features on which one classifier is the best in every environment at once.",
        when="What agrees with the label in the environments may not do so elsewhere, and does not agree equally in "
        "them.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Arjovsky et al. 2019, Invariant risk minimization",
        order=200,
    )

    examples = {"": {"environments": ["ds_here", "ds_there"], "optimizer": "sgd"}}

    name: Literal["irm"] = "irm"
    weight: Weight = 100.0
