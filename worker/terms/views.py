"""Losses of learning from images alone: functions of what the views' projections are."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_VARIANCE = 1e-4  # added under the root, whose slope is infinite at 0


def nt_xent(z_BD: Tensor, other_BD: Tensor, temperature: float) -> Tensor:
    """The loss by which each projection is to know, of all 2B−1 others, its own image's other view (Chen et al. 2020,
    eq. 1)."""
    z_ND = F.normalize(torch.cat((z_BD, other_BD)), dim=1)
    n, b = len(z_ND), len(z_BD)
    itself_NN = torch.eye(n, dtype=torch.bool, device=z_ND.device)
    logits_NN = (z_ND @ z_ND.T / temperature).masked_fill(itself_NN, float("-inf"))
    partner_N = torch.arange(n, device=z_ND.device).roll(b)
    return F.cross_entropy(logits_NN, partner_N)


def invariance(z_BD: Tensor, other_BD: Tensor) -> Tensor:
    """Mean squared difference over images and dimensions (Bardes et al. 2022, algorithm 1)."""
    return F.mse_loss(z_BD, other_BD)


def vicreg(z_BD: Tensor, other_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Invariance, variance and covariance of two views, before their weights.

    As in the authors' code: the variance is the mean of the views' two, the covariance their sum.  The paper's equation
    6 has both as sums; its figures, under the weights 25, 25 and 1, are of the code.
    """
    alive = (variance(z_BD) + variance(other_BD)) / 2
    return invariance(z_BD, other_BD), alive, covariance(z_BD) + covariance(other_BD)


def variance(z_BD: Tensor) -> Tensor:
    """The mean shortfall below 1 of the standard deviations over the batch are, mean over dimensions (eq. 1 there)."""
    std_D = torch.sqrt(z_BD.var(0) + LEAST_VARIANCE)
    return F.relu(1 - std_D).mean()


def covariance(z_BD: Tensor) -> Tensor:
    """Σ of the squared covariances of different dimensions, over D (eq. 4 there)."""
    b, d = z_BD.shape
    centred_BD = z_BD - z_BD.mean(0)
    cov_DD = centred_BD.T @ centred_BD / (b - 1)
    return (cov_DD.square().sum() - cov_DD.diagonal().square().sum()) / d


def foretold(prediction_BD: Tensor, target_BD: Tensor) -> Tensor:
    """2 − 2·cosine, mean over images (Grill et al. 2020, eq. 2); the target is taken as given."""
    return 2 - 2 * F.cosine_similarity(prediction_BD, target_BD.detach(), dim=1).mean()
