"""A fitted linear model, whatever fitted it."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from app.contract.grafted import LinearHead
from worker.methods.classical.family import ABSENT, Floats, Present, Stump


@dataclass(frozen=True)
class LinearModel:
    """z Wᵀ + b over the P classes of the training images."""

    weight_PD: Floats
    bias_P: Floats

    @classmethod
    def of(cls, estimator: Any, share: float) -> Self:
        """A fitted estimator of scikit-learn; of two classes it has the second's function f alone, which becomes −f and
        f, times `share`."""
        weight, bias = estimator.coef_, np.broadcast_to(estimator.intercept_, len(estimator.coef_))
        if len(weight) == 1:
            weight, bias = (share * np.concatenate((-values, values)) for values in (weight, bias))
        return cls(weight, bias)

    def scores(self, z_ND: Floats) -> Floats:
        scores_NP: Floats = z_ND @ self.weight_PD.T + self.bias_P
        return scores_NP

    def over(self, temperature: float) -> "LinearModel":
        return LinearModel(self.weight_PD / temperature, self.bias_P / temperature)

    def stump(self, present: Present) -> Stump:
        state = {"weight_KD": present.spread(self.weight_PD, 0), "bias_K": present.spread(self.bias_P, ABSENT)}
        return Stump(LinearHead(), state)
