"""Images that were prepared for one network, for another."""

import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.inputs import InputSpec


def converted(x_BCHW: Tensor, of: InputSpec, to: InputSpec) -> Tensor:
    """Images that were prepared for one network, as another takes them: values, colour and size."""
    if (of.size, of.channels, of.mean, of.std) == (to.size, to.channels, to.mean, to.std):
        return x_BCHW
    x_BCHW = x_BCHW * _column(of.std, x_BCHW) + _column(of.mean, x_BCHW)
    if of.channels != to.channels:
        x_BCHW = x_BCHW.expand(-1, 3, -1, -1) if to.channels == 3 else _grey(x_BCHW)
    if of.size != to.size:
        x_BCHW = F.interpolate(x_BCHW, to.size, mode="bilinear", antialias=True)
    return (x_BCHW - _column(to.mean, x_BCHW)) / _column(to.std, x_BCHW)


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics of grey images for colour, and the other way round."""
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype)[:, None, None]


def _grey(x_BCHW: Tensor) -> Tensor:
    """ITU-R 601 luma, as Pillow's conversion to `L`."""
    weights_C11 = torch.tensor([0.299, 0.587, 0.114], device=x_BCHW.device)[:, None, None]
    return (x_BCHW * weights_C11).sum(1, keepdim=True)
