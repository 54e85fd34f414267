"""Consistency of the predictions for two views of an image: the weakly augmented one teaches the strong."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PseudoLabels:
    """Classes int64 [M] that are predicted of images, and which of them are sure enough to learn from, bool [M]."""

    label_M: Tensor
    sure_M: Tensor

    @property
    def share(self) -> Tensor:
        """Scalar: the share of the images that is learnt from."""
        return self.sure_M.float().mean()


def above(p_MK: Tensor, threshold_K: Tensor) -> PseudoLabels:
    """The most probable classes; sure is what reaches the threshold of its class (Sohn et al. 2020, eq. 4)."""
    confidence_M, label_M = p_MK.max(1)
    return PseudoLabels(label_M, confidence_M >= threshold_K[label_M])


def loss(strong_MK: Tensor, pseudo: PseudoLabels) -> Tensor:
    """Cross-entropy of the logits `strong_MK` with the sure labels, over all M images: the others count as 0
    (Sohn et al. 2020, eq. 4)."""
    loss_M = F.cross_entropy(strong_MK, pseudo.label_M, reduction="none")
    return (loss_M * pseudo.sure_M).mean()
