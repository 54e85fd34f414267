"""The nearest neighbours' vote: what features are worth, without training anything on them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.training.features import Features

NEIGHBOURS = 20
TEMPERATURE = 0.07
CHUNK = 1024  # queries at once


def vote(known: Features, x_ND: Tensor, classes: int, k: int = NEIGHBOURS) -> Tensor:
    """int64 [N]: the class with the most weight among the k nearest of `known` by cosine, each of which weighs
    exp(cosine / 0.07) (Wu et al. 2018, section 3.4).
    """
    memory_MD = F.normalize(known.x_ND.float(), dim=1)
    k = min(k, len(known))
    winners = []
    for x_QD in torch.split(x_ND.float(), CHUNK):
        cosine_QM = F.normalize(x_QD, dim=1) @ memory_MD.T
        nearest_Qk, place_Qk = cosine_QM.topk(k, dim=1)
        label_Qk = F.one_hot(known.label_N[place_Qk], classes)
        weight_Qk1 = torch.exp((nearest_Qk - 1) / TEMPERATURE)[:, :, None]
        winners.append((weight_Qk1 * label_Qk).sum(1).argmax(1))
    return torch.cat(winners)
