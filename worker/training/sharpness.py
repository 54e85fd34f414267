"""Sharpness-aware minimisation: the gradient is taken where the loss is worst nearby (Foret et al. 2021)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SMALLEST = 1e-12  # of a gradient: where there is none, nothing is moved


class Ascent:
    """The way from weights w to w + ρ·g/‖g‖, g the gradient of all of them together (eq. 2), and back."""

    def __init__(self, modules: Sequence[nn.Module], rho: float) -> None:
        self._rho = rho
        self._parameters = [parameter for module in modules for parameter in module.parameters()]
        self._buffers = [buffer for module in modules for buffer in module.buffers()]

    @contextmanager
    @torch.no_grad()
    def above(self) -> Iterator[None]:
        """Within, the weights are moved; after it they and all buffers are as before, bit for bit: batch norm's
        statistics are those of the weights themselves.  The gradients are left to the caller."""
        moved = [parameter for parameter in self._parameters if parameter.grad is not None]
        before = [tensor.detach().clone() for tensor in (*moved, *self._buffers)]
        length = torch.stack([_gradient(parameter).norm() for parameter in moved]).norm() if moved else torch.zeros(())
        for parameter in moved:
            parameter.add_(_gradient(parameter) * (self._rho / (length + SMALLEST)))
        try:
            with torch.enable_grad():
                yield
        finally:
            for tensor, old in zip((*moved, *self._buffers), before, strict=True):
                tensor.copy_(old)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
