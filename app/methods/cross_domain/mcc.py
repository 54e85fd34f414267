"""`mcc`: predictions that confuse no two classes on the target."""

from typing import Literal

from app.methods.base import Info
from app.methods.cross_domain.family import CrossDomain
from app.methods.terms.base import Temperature


class Mcc(CrossDomain):
    """Minimum class confusion of the target's predictions at `temperature`; nothing compares the domains."""

    info = Info(
        summary="Predictions on the target that do not confuse classes.",
        when="The domains' classes are not equally frequent, or some are missing in the target: nothing aligns the "
        "domains.",
        needs=("checkpoint", "source_data"),
        reference="Jin et al. 2020, Minimum class confusion for versatile domain adaptation",
        order=300,
    )

    name: Literal["mcc"] = "mcc"
    temperature: Temperature = 2.5
