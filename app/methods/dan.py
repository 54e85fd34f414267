"""`dan`: features of the same distribution in both domains, by several kernels."""

from typing import Literal

from app.methods.cross_domain import CrossDomain
from app.methods.terms import Weight
from app.methods.training import Rates


class Matching(CrossDomain):
    """A discrepancy of the domains that is minimised itself."""

    def usual(self) -> Rates:
        usual = super().usual()
        return usual._replace(learning_rate=usual.learning_rate * 0.3)


class Dan(Matching):
    """MMD² of the features under five Gaussian kernels, whose widths follow the features."""

    name: Literal["dan"] = "dan"
    weight: Weight = 1.0
