"""Batch norm's statistics, estimated anew."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def norms(network: nn.Module) -> dict[str, _BatchNorm]:
    """The batch norms that keep statistics, by path, in the network's order."""
    return {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


@torch.no_grad()
def estimate(network: nn.Module, batches: Iterable[Tensor], prior: int = 0) -> None:
    """Set every batch norm's mean and variance to those of its inputs over all `batches` (float32 [B,C,H,W]).

    One pass, in which each batch is normalised by its own statistics (Li et al. 2018); their moments are pooled, so
    that a first layer's are exactly those of the whole, however it was cut.  All else is in evaluation mode, and so is
    the whole network afterwards.  With `prior` the old statistics count as those of so many images (Schneider et al.
    2020).
    """
    batch_norms = norms(network)
    before = {path: [buffer.clone() for buffer in _statistics(norm)] for path, norm in batch_norms.items()}
    images = 0
    with _pooling(network, batch_norms) as moments:
        for x_BCHW in batches:
            network(x_BCHW)
            images += len(x_BCHW)
    share = images / (images + prior)
    for path, pooled in moments.items():
        for buffer, old_C, new_C in zip(_statistics(batch_norms[path]), before[path], pooled.statistics(), strict=True):
            buffer.copy_(old_C.lerp(new_C.to(old_C.dtype), share))


@contextmanager
def under(network: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """Within, every batch norm has the mean and variance of its inputs over `batches`, and after it those of before.

    The network is in evaluation mode, within and after.
    """
    buffers = [buffer for norm in norms(network).values() for buffer in norm.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        estimate(network, batches)
        yield
    finally:
        with torch.no_grad():
            for buffer, old in zip(buffers, before, strict=True):
                buffer.copy_(old)


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


class _Moments:
    """Mean and squared deviations per channel, batch by batch, in float64 (Chan, Golub & LeVeque 1983, eq. 2.1)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean_C: Tensor | float = 0.0
        self._squares_C: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        """[B,C] or [B,C,…]."""
        x_CM = x.transpose(0, 1).flatten(1).double()
        count, mean_C = x_CM.shape[1], x_CM.mean(1)
        gap_C, total = mean_C - self._mean_C, self._count + count
        self._squares_C = self._squares_C + x_CM.var(1, correction=0) * count + gap_C**2 * (self._count * count / total)
        self._mean_C = self._mean_C + gap_C * (count / total)
        self._count = total

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean, and variance without bias, as batch norm keeps them."""
        return torch.as_tensor(self._mean_C), torch.as_tensor(self._squares_C) / max(1, self._count - 1)


@contextmanager
def _pooling(network: nn.Module, batch_norms: Mapping[str, _BatchNorm]) -> Iterator[dict[str, _Moments]]:
    """Within, the batch norms take their statistics from each batch, and their inputs' moments are gathered."""
    moments: dict[str, _Moments] = {}

    def keep(path: str, norm: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return norm.register_forward_pre_hook(
            lambda module, inputs: moments.setdefault(path, _Moments()).add(inputs[0].detach())
        )

    hooks = [keep(path, norm) for path, norm in batch_norms.items()]
    network.eval()
    for norm in batch_norms.values():
        norm.train()
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()
        network.eval()
