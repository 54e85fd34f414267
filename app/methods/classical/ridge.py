"""`ridge`: least squares on frozen features."""

from typing import Literal

from app.methods.classical.family import OnFeatures, Strength


class Ridge(OnFeatures):
    """Each class against the rest as +1 against −1: ‖XW − Y‖² + α‖W‖².

    Probabilities are a softmax of the values over a temperature that is fitted on the validation split.
    """

    name: Literal["ridge"] = "ridge"
    alpha: Strength | None = None
