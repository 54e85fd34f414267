"""`logistic_regression`: a linear softmax on frozen features, fitted to convergence."""

from typing import Literal

from app.methods.classical.family import OnFeatures, Strength


class LogisticRegression(OnFeatures):
    """`C` is the inverse of the L2 penalty: cross-entropy summed over the examples + ‖W‖² / (2C)."""

    name: Literal["logistic_regression"] = "logistic_regression"
    C: Strength | None = None
