"""Conventions of a library that no tensor shows: how its convolutions pad, and what is added to variances."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Conventions:
    """`same_padding`: as TensorFlow pads, by the image's size and not by the kernel's alone.  `epsilon` is that of the
    batch norms."""

    same_padding: bool
    epsilon: float


def differing(wanted: Conventions, network: nn.Module) -> dict[str, str | float]:
    """The options of timm's family by which a network comes to have the conventions that it has not."""
    options: dict[str, str | float] = {}
    modules = list(network.modules())
    if any(type(module).__name__ == "Conv2dSame" for module in modules) != wanted.same_padding:
        options["pad_type"] = "same" if wanted.same_padding else ""
    if {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} - {wanted.epsilon}:
        options["bn_eps"] = wanted.epsilon
    return options
