"""Minimum class confusion (Jin et al. 2020, eq. 2 to 6)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def class_confusion(logits_BK: Tensor, temperature: float) -> Tensor:
    """Mean over classes of what of a class's row in the confusion matrix lies off the diagonal.

    The matrix is Σ_b w_b p_b p_bᵀ with p = softmax(logits / T), its rows made to sum to 1.  An image weighs
    w = 1 + e^(−H(p)), scaled so that the weights' mean is 1; no gradient goes through the weight.
    """
    log_p_BK = F.log_softmax(logits_BK / temperature, dim=1)
    p_BK = log_p_BK.exp()
    certainty_B = 1 + torch.exp((p_BK * log_p_BK).sum(1)).detach()
    weight_B = certainty_B / certainty_B.mean()
    confusion_KK = (p_BK * weight_B[:, None]).T @ p_BK
    row_KK = confusion_KK / confusion_KK.sum(1, keepdim=True)
    return (row_KK.sum() - row_KK.trace()) / len(row_KK)
