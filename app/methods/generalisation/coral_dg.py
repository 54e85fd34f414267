"""`coral_dg`: features of the same means and covariances in every environment."""

from typing import Literal

from app.methods.base import Info
from app.methods.generalisation.family import Generalisation, Weight


class CoralDg(Generalisation):
    """Deep CORAL between all environments, with the parameters of `Generalisation`."""

    info = Info(
        summary="Features of the same means and covariances in every environment.",
        when="The environments differ in how they look, not in how frequent the classes are.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Sun & Saenko 2016, Deep CORAL; Gulrajani & Lopez-Paz 2021, In search of lost domain generalization",
        order=230,
    )

    examples = {"": {"environments": ["ds_here", "ds_there", "ds_yonder"]}}

    name: Literal["coral_dg"] = "coral_dg"
    weight: Weight = 1.0
