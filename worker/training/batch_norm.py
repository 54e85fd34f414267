"""Batch norm's statistics, taken anew: those of merged weights are not the mean of the parts' statistics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def layers(network: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norm layers that keep statistics, by path."""
    return {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


@torch.no_grad()
def reestimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the statistics by the means of those of `batches` (Izmailov et al. 2018, section 3.2).

    All else is in evaluation mode meanwhile, and the whole network afterwards.  Batches are to be of one size and
    drawn at random; of a single image some layers have no statistics.
    """
    with anew(network, layers(network)):
        for x_BCHW in batches:
            network(x_BCHW)


@contextmanager
def anew(network: nn.Module, paths: Iterable[str]) -> Iterator[None]:
    """Within, the batch norms at `paths` gather statistics from nothing, as the means over the batches that the network
    is given; all else is in evaluation mode, and after it the whole network."""
    wanted = set(paths)
    norms = [layer for path, layer in layers(network).items() if path in wanted]
    momenta = [layer.momentum for layer in norms]
    network.eval()
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # PyTorch then keeps the mean over all batches
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
