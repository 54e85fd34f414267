"""Self-supervised pseudo-labels: the nearest of the classes' centroids (Liang, Hu & Feng 2020, eq. 4 to 6)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def assign(features_ND: Tensor, p_NK: Tensor, columns_L: Tensor | None = None) -> Tensor:
    """int64 [N]: for each image the class whose centroid is nearest by cosine.

    The first centroids are means of the features, each of length 1, weighted by the class's probability; the second,
    plain means of what the first took in; what takes in nothing is no centroid any more.  With `columns_L` (int64) only
    these classes are in question.
    """
    unit_ND = F.normalize(features_ND)
    weight_NL = p_NK if columns_L is None else p_NK[:, columns_L]
    nearest_N = _nearest(unit_ND, weight_NL)
    nearest_N = _nearest(unit_ND, F.one_hot(nearest_N, weight_NL.shape[1]).to(weight_NL.dtype))
    return nearest_N if columns_L is None else columns_L[nearest_N]


def _nearest(unit_ND: Tensor, weight_NL: Tensor) -> Tensor:
    """The nearest centroids; the length of a mean does not matter, only its direction."""
    centroid_LD = F.normalize(weight_NL.T @ unit_ND)
    similarity_NL = (unit_ND @ centroid_LD.T).masked_fill(weight_NL.sum(0) == 0, -torch.inf)
    return similarity_NL.argmax(1)
