"""Self-adaptive thresholds and fairness (Wang et al. 2023, FreeMatch)."""

import torch
from torch import Tensor

from worker.runtime.run import State
from worker.terms.consistency import PseudoLabels

TINY = 1e-12  # under a logarithm


class AdaptiveThreshold:
    """Moving averages over the steps of what is predicted of images without labels: how sure, and of which classes.

    `confidence` is τ, the mean of the greatest probabilities; `probability_K` is p̃, the mean probabilities;
    `histogram_K` is h̃, the shares of the predicted classes.  All begin with 1/K.
    """

    def __init__(self, classes: int, momentum: float, device: torch.device) -> None:
        self._momentum = momentum
        self.probability_K = torch.full((classes,), 1 / classes, device=device)
        self.histogram_K = self.probability_K.clone()
        self.confidence = self.probability_K[0].clone()

    def update(self, p_MK: Tensor) -> None:
        """Take in the probabilities of a step's images."""
        confidence_M, label_M = p_MK.max(1)
        share = 1 - self._momentum
        histogram_K = torch.bincount(label_M, minlength=p_MK.shape[1]) / len(p_MK)
        self.confidence.lerp_(confidence_M.mean(), share)
        self.probability_K.lerp_(p_MK.mean(0), share)
        self.histogram_K.lerp_(histogram_K, share)

    def thresholds(self) -> Tensor:
        """[K]: τ(c) = p̃(c) / max p̃ · τ."""
        return self.probability_K / self.probability_K.max() * self.confidence

    def state_dict(self) -> State:
        return {"confidence": self.confidence, "probability": self.probability_K, "histogram": self.histogram_K}

    def load_state_dict(self, state: State) -> None:
        self.confidence.copy_(state["confidence"])
        self.probability_K.copy_(state["probability"])
        self.histogram_K.copy_(state["histogram"])


def fairness(strong_MK: Tensor, pseudo: PseudoLabels, expected: AdaptiveThreshold) -> Tensor:
    """−H(SumNorm(p̃ / h̃), SumNorm(p̄ / h̄)) with the cross-entropy H: p̄ are the mean probabilities, h̄ the shares of the
    predicted classes, of the strong views of the sure images; 0 where none is sure.

    A class that none of them is predicted for has no part in p̄ / h̄, as in the authors' code.
    """
    p_MK = strong_MK.softmax(1) * pseudo.sure_M[:, None]
    sure = pseudo.sure_M.sum().clamp(min=1)
    histogram_K = torch.bincount(strong_MK.argmax(1), pseudo.sure_M.to(p_MK.dtype), minlength=p_MK.shape[1]) / sure
    strong_K = _normalised(p_MK.sum(0) / sure, histogram_K)
    expected_K = _normalised(expected.probability_K, expected.histogram_K)
    return (expected_K * (strong_K + TINY).log()).sum() * pseudo.sure_M.any()


def _normalised(probability_K: Tensor, histogram_K: Tensor) -> Tensor:
    """SumNorm(p / h); where h is 0 so is the quotient."""
    quotient_K = torch.where(histogram_K > 0, probability_K / histogram_K.clamp(min=TINY), 0.0)
    return quotient_K / quotient_K.sum().clamp(min=TINY)
