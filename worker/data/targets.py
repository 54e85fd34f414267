"""The two kinds of labels, side by side: what a network's logits are held against, and how they are judged.

The form of the targets says the kind: int64 [B], one class each; or uint8 [B,K], any number of the classes.
"""

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.metrics.scores import Judged, JudgedEach, Verdict


class Kind(Protocol):
    """`y` are targets of the kind, of a batch or of a whole split."""

    def loss(self, logits_BK: Tensor, y: Tensor, weight_K: Tensor | None, smoothing: float) -> Tensor:
        """Mean over the images; linear in the targets, so that mixed ones are the mean of two losses."""

    def class_weights(self, y: Tensor, classes: int) -> Tensor:
        """float64 [K] for `loss`, by which classes with few examples count as much as others."""

    def groups(self, y: Tensor, classes: int) -> Tensor:
        """int64 [N], 0 to `classes`: what examples are told apart by where they are drawn evenly."""

    def part(self, logits_BK: Tensor, y: Tensor) -> Tensor:
        """The numbers that are kept of a batch for `verdict`, with the batch as its last dimension."""

    def verdict(self, parts: list[Tensor]) -> Verdict: ...


def of(y: Tensor) -> Kind:
    return MULTI_LABEL if y.ndim == 2 else SINGLE_LABEL


class SingleLabel:
    """Cross-entropy: the classes compete."""

    def loss(self, logits_BK: Tensor, y: Tensor, weight_K: Tensor | None, smoothing: float) -> Tensor:
        return F.cross_entropy(logits_BK, y, weight_K, label_smoothing=smoothing)

    def class_weights(self, y: Tensor, classes: int) -> Tensor:
        return balanced(y, classes)

    def groups(self, y: Tensor, classes: int) -> Tensor:
        return y.cpu()

    def part(self, logits_BK: Tensor, y: Tensor) -> Tensor:
        """float64 [4,B]: true class, predicted class, its probability, loss."""
        log_p_BK = F.log_softmax(logits_BK.double(), dim=1)
        confidence_B, predicted_B = log_p_BK.max(dim=1)
        nll_B = -log_p_BK.gather(1, y[:, None])[:, 0]
        return torch.stack((y.double(), predicted_B.double(), confidence_B.exp(), nll_B))

    def verdict(self, parts: list[Tensor]) -> Judged:
        judged_4N = torch.cat(parts, dim=1).cpu().numpy()
        return Judged(judged_4N[0].astype(np.int64), judged_4N[1].astype(np.int64), judged_4N[2], judged_4N[3])


class MultiLabel:
    """Binary cross-entropy, mean over the classes: each is a question of its own."""

    def loss(self, logits_BK: Tensor, y: Tensor, weight_K: Tensor | None, smoothing: float) -> Tensor:
        target_BK = y.to(logits_BK.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits_BK, target_BK, pos_weight=weight_K)

    def class_weights(self, y: Tensor, classes: int) -> Tensor:
        """Negatives over positives, of positives alone; 1 for a class without any, and never 0."""
        positive_K = y.sum(0, dtype=torch.float64).cpu()
        return torch.where(positive_K > 0, (len(y) - positive_K).clamp(min=1) / positive_K.clamp(min=1), 1.0)

    def groups(self, y: Tensor, classes: int) -> Tensor:
        """The rarest of an image's classes among these examples; those without any are a group of their own."""
        order_K = y.sum(0, dtype=torch.int64).argsort(stable=True)
        rarest_N = order_K[y[:, order_K].argmax(1)]
        return torch.where(y.sum(1) > 0, rarest_N, classes).cpu()

    def part(self, logits_BK: Tensor, y: Tensor) -> Tensor:
        """float64 [2,K,B]: targets and logits."""
        return torch.stack((y.double(), logits_BK.double())).transpose(1, 2)

    def verdict(self, parts: list[Tensor]) -> JudgedEach:
        truth_KN, logit_KN = torch.cat(parts, dim=2).cpu()
        loss_KN = F.binary_cross_entropy_with_logits(logit_KN, truth_KN, reduction="none")
        return JudgedEach(truth_KN.numpy() > 0.5, logit_KN.numpy(), logit_KN.sigmoid().numpy(), loss_KN.mean(0).numpy())


def balanced(group_N: Tensor, groups: int) -> Tensor:
    """float64 [G]: N / (G · n_g), so that every group weighs as much; 0 for one without examples."""
    count_G = torch.bincount(group_N.cpu(), minlength=groups).double()
    return torch.where(count_G > 0, len(group_N) / (groups * count_G.clamp(min=1)), torch.zeros_like(count_G))


SINGLE_LABEL, MULTI_LABEL = SingleLabel(), MultiLabel()
