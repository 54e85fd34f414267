"""Terms that learning from several environments adds to the mean of their risks."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from worker.terms.coral import covariance

LEAST_VARIANCE = 1e-6


def slope(logits_BK: Tensor, y_B: Tensor) -> Tensor:
    """∂/∂s of the cross-entropy of s·logits, at s = 1: the mean of Σₖ pₖ zₖ − z_y."""
    expected_B = (logits_BK.softmax(1) * logits_BK).sum(1)
    return (expected_B - logits_BK.gather(1, y_B[:, None])[:, 0]).mean()


def irm_penalty(logits_BK: Tensor, y_B: Tensor) -> Tensor:
    """The squared slope without bias: that of every other image times that of the rest (Arjovsky et al. 2019, IRMv1 and
    appendix D)."""
    return slope(logits_BK[::2], y_B[::2]) * slope(logits_BK[1::2], y_B[1::2])


def risk_variance(risk_E: Tensor) -> Tensor:
    """Mean squared deviation from the mean (Krueger et al. 2021, eq. 8)."""
    return (risk_E - risk_E.mean()).square().mean()


def moments_apart(features: Sequence[Tensor]) -> Tensor:
    """Mean over all pairs of environments, with features [B,D] each, of |μᵢ − μⱼ|²/D + ‖Cᵢ − Cⱼ‖²_F/D².

    CORAL (Sun & Saenko 2016) and the means, as Gulrajani & Lopez-Paz 2021 have it."""
    moments = [(x_BD.mean(0), covariance(x_BD)) for x_BD in features]
    pairs = [
        (mean - other_mean).square().mean() + (spread - other_spread).square().mean()
        for (mean, spread), (other_mean, other_spread) in combinations(moments, 2)
    ]
    return torch.stack(pairs).mean()


def reweighted(weight_E: Tensor, risk_E: Tensor, eta: float) -> Tensor:
    """wₑ · exp(η·riskₑ), of sum 1 (Sagawa et al. 2020, algorithm 1)."""
    raised_E = weight_E * torch.exp(eta * risk_E.detach())
    return raised_E / raised_E.sum()


def mix_style(x_BCHW: Tensor, partner_B: Tensor, share_B: Tensor) -> Tensor:
    """Image b keeps `share_B[b]` of its channels' means and deviations, the rest is of `partner_B[b]` (Zhou et al.
    2021, eq. 4 to 6); no gradient goes through either."""
    mean_BC11 = x_BCHW.mean((2, 3), keepdim=True).detach()
    std_BC11 = (x_BCHW.var((2, 3), correction=0, keepdim=True) + LEAST_VARIANCE).sqrt().detach()
    share_B111 = share_B[:, None, None, None]
    mean = share_B111 * mean_BC11 + (1 - share_B111) * mean_BC11[partner_B]
    std = share_B111 * std_BC11 + (1 - share_B111) * std_BC11[partner_B]
    return (x_BCHW - mean_BC11) / std_BC11 * std + mean
