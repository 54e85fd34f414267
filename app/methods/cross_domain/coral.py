"""`coral`: features of the same covariance in both domains (Deep CORAL)."""

from typing import Any, Literal

from pydantic import model_validator

from app.methods.base import Info
from app.methods.cross_domain.family import CrossDomain
from app.methods.terms.base import Weight


class Coral(CrossDomain):
    """‖C_s − C_t‖² / 4d² of `on`: the features, or as in the paper the class scores.

    `weight`: left open, 1000 for features and 1 for scores.  The paper wants it such that this and the loss on labels
    end about as large as each other; these do so on digits.
    """

    info = Info(
        summary="Features of the same covariance in both domains.",
        when="A near target and a method that can hardly go wrong.",
        needs=("checkpoint", "source_data"),
        reference="Sun & Saenko 2016, Deep CORAL: correlation alignment for deep domain adaptation",
        order=290,
    )

    name: Literal["coral"] = "coral"
    weight: Weight = 1000.0
    on: Literal["features", "scores"] = "features"

    @model_validator(mode="before")
    @classmethod
    def _weight_of_scores(cls, document: Any) -> Any:
        scores = isinstance(document, dict) and document.get("on") == "scores"
        return {"weight": 1.0} | document if scores else document
