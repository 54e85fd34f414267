"""`logistic_regression`: a linear softmax on frozen features, fitted to convergence."""

from typing import Literal

from app.methods.base import Info
from app.methods.classical.family import OnFeatures, Strength


class LogisticRegression(OnFeatures):
    """`C` is the inverse of the L2 penalty: cross-entropy summed over the examples + ‖W‖² / (2C)."""

    info = Info(
        summary="A linear softmax on the source's frozen features, fitted to convergence.",
        when="As for `linear_probe`, with nothing to tune but one penalty, which the validation split chooses.",
        needs=("checkpoint", "target_labels"),
        reference="Donahue et al. 2014, DeCAF: a deep convolutional activation feature for generic visual recognition",
        order=110,
    )

    name: Literal["logistic_regression"] = "logistic_regression"
    C: Strength | None = None
