"""The diagonal of the Fisher information: how much a network's answers hang on each of its weights."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn


def information(
    parameters: Mapping[str, nn.Parameter], images: Iterable[Tensor], surprise: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The mean over `images`, which come one by one, of the squared gradient of `surprise`: −log p(y|x) of an image x,
    float32 [1,C,H,W], for the answer y that is to count.  Parameters of which it is no function have none."""
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    count = 0
    for x_1CHW in images:
        gradients = torch.autograd.grad(surprise(x_1CHW), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                sums[name] += gradient.square()
        count += 1
    return {name: total / max(1, count) for name, total in sums.items()}
