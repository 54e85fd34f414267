"""Features brought to one place and scale, so that a linear layer learns as fast on one network's as on another's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from worker.training.features import Features

CURVATURE = 100.0  # the largest: SGD's usual rate is its inverse, a step that overshoots for no loss on a linear layer


@dataclass(frozen=True)
class Scaling:
    """z = (x − `mean_D`) / `size`, in float64.

    Softmax regression learns a direction of its features as fast as they vary along it.  What all features share (they
    are positive behind a ReLU) and their scale, which differs a hundredfold between networks, would set the rate; so
    they are centred, and scaled until the largest eigenvalue of their covariance is `CURVATURE` (Böhning 1992,
    Multinomial logistic regression algorithm: the Hessian is at most half the features' second moments).
    """

    mean_D: Tensor
    size: float

    @classmethod
    def of(cls, x_ND: Tensor) -> Self:
        """The scaling by the images that are learned from; features that are all alike are centred alone."""
        x = x_ND.double()
        mean_D = x.mean(0)
        centred = x - mean_D
        products = centred.T @ centred if len(x) > len(mean_D) else centred @ centred.T  # of the same eigenvalues
        largest = float(torch.linalg.eigvalsh(products)[-1]) / len(x)
        return cls(mean_D, (largest / CURVATURE) ** 0.5 if largest > 0 else 1.0)

    def apply(self, features: Features) -> Features:
        return replace(features, x_ND=((features.x_ND.double() - self.mean_D) / self.size).float())

    @contextmanager
    def within(self, layer: nn.Linear) -> Iterator[None]:
        """Within, the layer is for scaled features; before and after it gives the same scores of features as they
        are."""
        with torch.no_grad():
            layer.bias.copy_(layer.bias.double() + layer.weight.double() @ self.mean_D)
            layer.weight.mul_(self.size)
        try:
            yield
        finally:
            with torch.no_grad():
                layer.weight.div_(self.size)
                layer.bias.copy_(layer.bias.double() - layer.weight.double() @ self.mean_D)
