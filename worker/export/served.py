"""A network with its input contract, as it is served: uint8 images in, probabilities, features and energy out."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from worker.networks.structure import Structure


class Answers(NamedTuple):
    """The answers for a batch; their names are those of the graph's outputs."""

    probabilities: Tensor  # [N,K]
    features: Tensor  # [N,D]
    energy: Tensor  # [N]


class Served(nn.Module):
    """A network as it is served: from pixels as they come, uint8 [N,H,W,C], to `Answers`.

    `multi_label`: each class has a probability of its own; else they sum to 1.
    """

    scale_C11: Tensor
    shift_C11: Tensor

    def __init__(
        self, network: nn.Module, structure: Structure, input: InputSpec, *, multi_label: bool = False
    ) -> None:
        super().__init__()
        self.network, self._structure, self._multi_label = network, structure, multi_label
        mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (input.mean, input.std))
        self.register_buffer("scale_C11", 1 / (255 * std_C11), persistent=False)
        self.register_buffer("shift_C11", -mean_C11 / std_C11, persistent=False)

    def forward(self, image: Tensor) -> Answers:
        x_BCHW = image.permute(0, 3, 1, 2).float() * self.scale_C11 + self.shift_C11
        logits_BK, features_BD = self._structure.forward(self.network, x_BCHW)
        probabilities_BK = logits_BK.sigmoid() if self._multi_label else logits_BK.softmax(1)
        return Answers(probabilities_BK, features_BD, energy(logits_BK, multi_label=self._multi_label))


def energy(logits_BK: Tensor, *, multi_label: bool) -> Tensor:
    """[B]: −log Σₖ exp(zₖ), the higher the less the network has seen the like (Liu et al. 2020, eq. 4); where an image
    may have several labels −Σₖ log(1 + exp(zₖ)) (Wang et al. 2021, eq. 7)."""
    return -(nn.functional.softplus(logits_BK).sum(1) if multi_label else logits_BK.logsumexp(1))
