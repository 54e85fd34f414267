"""`mcc`: predictions that confuse no two classes on the target."""

from typing import Literal

from app.methods.cross_domain.family import CrossDomain
from app.methods.terms.family import Temperature


class Mcc(CrossDomain):
    """Minimum class confusion of the target's predictions at `temperature`; nothing compares the domains."""

    name: Literal["mcc"] = "mcc"
    temperature: Temperature = 2.5
