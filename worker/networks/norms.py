"""Norms: the layers that bring what they are given to one scale, and then scale and shift it."""

from torch import nn


def scaled(network: nn.Module) -> dict[str, nn.Module]:
    """Norms with scales or shifts that can learn, by path, in the network's order.

    They are known by the names of their classes: libraries' own ones (RmsNorm, FilterResponseNorm) inherit from nothing
    that would tell them from other layers.
    """
    return {
        path: module
        for path, module in network.named_modules()
        if "norm" in type(module).__name__.lower() and any(True for _ in module.parameters(recurse=False))
    }
