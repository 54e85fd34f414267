"""Scales and shifts of what layers give, one of each a channel (Lian et al. 2022).

They are reckoned in the layers' own weights, γ·(Wx + b) + β = (γW)x + (γb + β), as PyTorch's parametrizations: whoever
reads a layer's weights by himself, as attention does, reads the scaled ones, and to merge them is to keep these.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from worker.networks import norms

LAYERS = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
WEIGHTS = {"weight": "bias", "in_proj_weight": "in_proj_bias"}  # what multiplies, and what is added to that


class ChannelScale(nn.Module):
    """γ·W, for weights [O,…] with one γ for each of O outputs."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.scale_O = nn.Parameter(torch.ones(len(weight), dtype=weight.dtype, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return self.scale_O.view(-1, *(1,) * (weight.ndim - 1)) * weight


class ChannelShift(nn.Module):
    """γ·b + β, with the γ of the weights."""

    def __init__(self, bias_O: Tensor, scale: ChannelScale) -> None:
        super().__init__()
        self.shift_O = nn.Parameter(torch.zeros_like(bias_O))
        self._scale = (scale,)  # not a module of this one: its γ is the weights'

    def forward(self, bias_O: Tensor) -> Tensor:
        return self._scale[0].scale_O * bias_O + self.shift_O


def insert(network: nn.Module, *, aside: Collection[str]) -> list[str]:
    """Give a network scales of 1 and shifts of 0, so that it gives what it gave; the layers at the paths `aside` have
    none.  Returns the paths of those that have."""
    scaled_norms = norms.scaled(network)
    layers = {
        path: module
        for path, module in network.named_modules()
        if path not in aside and (isinstance(module, LAYERS) or path in scaled_norms) and _own(module)
    }
    for module in layers.values():
        for name in _own(module):
            scale = ChannelScale(getattr(module, name))
            bias = getattr(module, WEIGHTS[name], None)
            parametrize.register_parametrization(module, name, scale)
            if bias is not None:
                parametrize.register_parametrization(module, WEIGHTS[name], ChannelShift(bias, scale))
    return list(layers)


def parts(network: nn.Module) -> list[str]:
    """Paths of the modules that hold the scales and the shifts."""
    return [path for path, module in network.named_modules() if isinstance(module, ChannelScale | ChannelShift)]


def merge(network: nn.Module) -> None:
    """Keep the weights as they are scaled and shifted; names and layers are the network's own again."""
    for path in parts(network):
        owner, name = path.removesuffix(".0").split(".parametrizations.")
        parametrize.remove_parametrizations(network.get_submodule(owner), name, leave_parametrized=True)


def _own(module: nn.Module) -> list[str]:
    """Names of the weights that a module holds itself, as it is."""
    parameters = dict(module.named_parameters(recurse=False))
    return [name for name in WEIGHTS if name in parameters]
