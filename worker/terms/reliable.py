"""Predictions without labels that are worth learning from: sure ones, and such as are unlike the others."""

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.runtime.run import State

KEEPS = 0.9  # of an average, at each step


def weights(entropy_B: Tensor, margin: float) -> Tensor:
    """[B]: exp(E₀ − H) where H is below the margin E₀, in nats, else 0 (Niu et al. 2022, eq. 3); no gradient."""
    entropy_B = entropy_B.detach()
    return torch.where(entropy_B < margin, torch.exp(margin - entropy_B), 0.0)


def mean(values_B: Tensor, taken_B: Tensor) -> Tensor:
    """Scalar: the mean of the values that are `taken` (bool); 0, and no gradient, where none is."""
    return (values_B * taken_B).sum() / taken_B.sum().clamp(min=1)


class Seen:
    """The moving average of the predictions that were learnt from, by which others are known to be like them."""

    def __init__(self) -> None:
        self._mean_K: Tensor | None = None

    def new(self, p_BK: Tensor, margin: float) -> Tensor:
        """Bool [B]: the cosine of a prediction with the average is less than `margin` (eq. 5); at first all are."""
        if self._mean_K is None:
            return torch.ones(len(p_BK), dtype=torch.bool, device=p_BK.device)
        return F.cosine_similarity(p_BK.detach(), self._mean_K[None], dim=1) < margin

    def add(self, p_BK: Tensor) -> None:
        """The predictions of a batch that are learnt from; there may be none (eq. 4)."""
        if not len(p_BK):
            return
        now_K = p_BK.detach().mean(0)
        self._mean_K = now_K if self._mean_K is None else KEEPS * self._mean_K + (1 - KEEPS) * now_K

    def state_dict(self) -> State:
        return {"mean": self._mean_K}

    def load_state_dict(self, state: State) -> None:
        self._mean_K = state["mean"]


class Falling:
    """The moving average of a loss that tells a collapse before it comes, by falling below `floor` (Niu et al. 2023,
    section 4.3); `times` is how often it did, after which it begins anew."""

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._mean: float | None = None
        self.times = 0

    def add(self, loss: float) -> None:
        self._mean = loss if self._mean is None else KEEPS * self._mean + (1 - KEEPS) * loss

    def below(self) -> bool:
        if self._mean is None or self._mean >= self._floor:
            return False
        self._mean = None
        self.times += 1
        return True

    def state_dict(self) -> State:
        return {"mean": self._mean, "times": self.times}

    def load_state_dict(self, state: State) -> None:
        self._mean, self.times = state["mean"], state["times"]
