"""`coral`: features of the same covariance in both domains (Deep CORAL)."""

from typing import Literal

from app.methods.cross_domain import CrossDomain
from app.methods.terms import Weight


class Coral(CrossDomain):
    """‖C_s − C_t‖² / 4d² of `on`: the features, or as in the paper the class scores."""

    name: Literal["coral"] = "coral"
    weight: Weight = 1.0
    on: Literal["features", "scores"] = "features"
