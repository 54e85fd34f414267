"""Features once: what a frozen backbone makes of every image, computed a single time for all epochs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.training import accumulation


@dataclass(frozen=True)
class Features:
    """`x_ND` float32 and `label_N`, the targets (see `targets`), on the run's device."""

    x_ND: Tensor
    label_N: Tensor

    def __len__(self) -> int:
        return len(self.label_N)


def compute(extract: Callable[[Tensor], Tensor], batches: Iterator[tuple[Tensor, Tensor]]) -> Features:
    """`extract` (input -> [B,D]) over `batches`; the caller has put the network into evaluation mode."""
    x_BD, y_B = [], []
    with torch.no_grad():
        for x, y in batches:
            x_BD.append(accumulation.forward(extract, x))
            y_B.append(y)
    return Features(torch.cat(x_BD), torch.cat(y_B))


def batches(features: Features, size: int = 4096) -> Iterator[tuple[Tensor, Tensor]]:
    """(float32 [B,D], targets) in order."""
    return zip(torch.split(features.x_ND, size), torch.split(features.label_N, size), strict=True)
