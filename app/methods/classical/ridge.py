"""`ridge`: least squares on frozen features."""

from typing import Literal

from app.methods.base import Info
from app.methods.classical.family import OnFeatures, Strength


class Ridge(OnFeatures):
    """Each class against the rest as +1 against −1: ‖XW − Y‖² + α‖W‖².

    Probabilities are a softmax of the values over a temperature that is fitted on the validation split.
    """

    info = Info(
        summary="Least squares on the source's frozen features.",
        when="A linear head within a second, however many the classes; features that go together do not upset it.",
        needs=("checkpoint", "target_labels"),
        reference="Hoerl & Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems",
        order=120,
    )

    name: Literal["ridge"] = "ridge"
    alpha: Strength | None = None
