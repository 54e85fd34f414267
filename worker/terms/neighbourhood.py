"""Predictions of images and of their neighbours: attraction and dispersion (Yang et al. 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.runtime.run import State


def attraction(p_BK: Tensor, near_BNK: Tensor) -> Tensor:
    """−Σ_j p_iᵀ q_j over an image's N neighbours, mean over the images (eq. 5, first term)."""
    return -torch.einsum("bk,bnk->b", p_BK, near_BNK).mean()


def dispersion(p_BK: Tensor) -> Tensor:
    """Σ_m p_iᵀ p_m over the other images of the batch, mean over the images (eq. 5, second term)."""
    similarity_BB = p_BK @ p_BK.T
    return (similarity_BB.sum() - similarity_BB.trace()) / len(p_BK)


class Bank:
    """Features, each of length 1, and predictions of all images as they were last seen."""

    def __init__(self, features_ND: Tensor, p_NK: Tensor) -> None:
        self._unit_ND, self._p_NK = F.normalize(features_ND), p_NK.clone()

    def renew(self, index_B: Tensor, features_BD: Tensor, p_BK: Tensor) -> None:
        """Put these in the places of what was known of the images `index_B`."""
        self._unit_ND[index_B] = F.normalize(features_BD)
        self._p_NK[index_B] = p_BK

    def near(self, index_B: Tensor, count: int) -> Tensor:
        """[B,N,K]: predictions of the N = `count` images nearest by cosine, or all others where there are fewer."""
        similarity_BN = self._unit_ND[index_B] @ self._unit_ND.T
        similarity_BN.scatter_(1, index_B[:, None], -torch.inf)  # itself
        nearest_BN = similarity_BN.topk(min(count, len(self._unit_ND) - 1), dim=1).indices
        return self._p_NK[nearest_BN]

    def state_dict(self) -> State:
        return {"features": self._unit_ND, "predictions": self._p_NK}

    def load_state_dict(self, state: State) -> None:
        self._unit_ND.copy_(state["features"])
        self._p_NK.copy_(state["predictions"])
