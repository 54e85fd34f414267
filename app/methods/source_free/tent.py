"""`tent`: the entropy of predictions, lowered by batch norm's scales and shifts alone."""

from typing import Literal

from app.methods.base import Info
from app.methods.source_free.family import OnNorms


class Tent(OnNorms):
    """All but batch norm's scales and shifts stays bit for bit; its statistics are those of the target.

    Predictions are looked at after every epoch: where they have collapsed, it stops and keeps the last sound state.
    """

    info = Info(
        summary="Make the predictions on images without labels surer, by batch norm's scales and shifts alone.",
        when="The source is nearly right on the target, and nearly all of its weights are to stay as they are.",
        needs=("checkpoint",),
        reference="Wang et al. 2021, Tent: fully test-time adaptation by entropy minimization",
        order=400,
    )

    examples = {"": {"batch_size": 20}}

    name: Literal["tent"] = "tent"
