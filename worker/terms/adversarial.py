"""A domain discriminator and what stands between it and the features: reversal, and conditioning on predictions."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

FEATURES_AT_MOST = 4096  # of the outer product; beyond it the map is a random one (Long et al. 2018, eq. 8)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, times: float) -> Tensor:
        ctx.times = times
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.times * gradient, None


def reverse(x: Tensor, times: float) -> Tensor:
    """x itself; its gradient comes back × −`times` (Ganin & Lempitsky 2015, eq. 12 and 13)."""
    reversed_: Tensor = _Reverse.apply(x, times)
    return reversed_


class Discriminator(nn.Sequential):
    """[B,D] to one logit [B]: how much it looks like the source."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__(
            nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, x_BD: Tensor) -> Tensor:
        logit_B1: Tensor = super().forward(x_BD)  # type: ignore[no-untyped-call]
        return logit_B1[:, 0]


def domain_loss(
    source_S: Tensor, target_T: Tensor, weight_S: Tensor | None = None, weight_T: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of logits, source 1 and target 0; each domain counts half, its weights' mean being 1."""
    own = F.binary_cross_entropy_with_logits(source_S, torch.ones_like(source_S), weight_S)
    return (own + F.binary_cross_entropy_with_logits(target_T, torch.zeros_like(target_T), weight_T)) / 2


def domain_accuracy(source_S: Tensor, target_T: Tensor) -> Tensor:
    """Share of right guesses, the mean of the domains' own: ½ where nothing tells them apart."""
    return ((source_S > 0).float().mean() + (target_T <= 0).float().mean()) / 2


class Multilinear(nn.Module):
    """The conditioning map T(f, p) of CDAN: f ⊗ p, or (R_f f) ⊙ (R_p p) / √d with random maps that never learn."""

    of_features: Tensor
    of_predictions: Tensor

    def __init__(self, features: int, classes: int, dimension: int, generator: Generator, randomised: bool) -> None:
        super().__init__()
        self.randomised = randomised
        self.out_features = dimension if randomised else features * classes
        if randomised:
            for name, width in (("of_features", features), ("of_predictions", classes)):
                drawn = torch.randn(width, dimension, generator=generator, device=generator.device)
                self.register_buffer(name, drawn)

    def forward(self, features_BD: Tensor, p_BK: Tensor) -> Tensor:
        if not self.randomised:
            return (p_BK[:, :, None] * features_BD[:, None]).flatten(1)
        projected_BR = (features_BD @ self.of_features) * (p_BK @ self.of_predictions)
        return projected_BR / math.sqrt(self.out_features)


def certainty(p_BK: Tensor) -> Tensor:
    """[B]: 1 + e^(−H(p)), scaled to the mean 1: how much an image counts in CDAN+E."""
    certainty_B = 1 + torch.exp(-torch.special.entr(p_BK).sum(1))
    return certainty_B / certainty_B.mean()
