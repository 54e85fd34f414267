"""Measures of predictions without a label: how sure they are, and how evenly they use the classes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def entropy(logits_BK: Tensor) -> Tensor:
    """[B], in nats: H(p) of each image's prediction p."""
    log_p_BK = F.log_softmax(logits_BK, dim=1)
    return -(log_p_BK.exp() * log_p_BK).sum(1)


def diversity(logits_BK: Tensor, columns_L: Tensor | None = None) -> Tensor:
    """Scalar, in nats: H of the mean over images of p, log K where all classes are used alike.

    With `columns_L` (int64) only these classes' shares of it count, scaled to a sum of 1.
    """
    p_K = logits_BK.softmax(1).mean(0)
    if columns_L is not None:
        p_K = p_K[columns_L] / p_K[columns_L].sum()
    return -(p_K * p_K.clamp(min=torch.finfo(p_K.dtype).tiny).log()).sum()
