"""Mixup and CutMix on the device: one λ and one partner for every image a batch, from a generator of their own."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from app.contract.mixing import Mixing, Mixup
from worker.runtime.device import send


class Mixed(NamedTuple):
    """Images [B,C,H,W]; image b is `share` of what it was, and for the rest image `partner_B[b]`."""

    x_BCHW: Tensor
    partner_B: Tensor
    share: float


Mix = Callable[[Tensor, Generator], Mixed]


def compose(mixing: Mixing | None) -> Mix | None:
    """`generator` lies on the CPU, where shares are drawn: they are numbers that the loss is weighted by."""
    if mixing is None:
        return None
    kind = _mixup if isinstance(mixing, Mixup) else _cutmix

    def mix(x_BCHW: Tensor, generator: Generator) -> Mixed:
        share = _beta(mixing.alpha, generator)
        partner_B = send(torch.randperm(len(x_BCHW), generator=generator), x_BCHW.device)
        if torch.rand((), generator=generator) >= mixing.p:
            return Mixed(x_BCHW, partner_B, 1.0)
        return kind(x_BCHW, partner_B, share, generator)

    return mix


def _mixup(x_BCHW: Tensor, partner_B: Tensor, share: float, generator: Generator) -> Mixed:
    return Mixed(share * x_BCHW + (1 - share) * x_BCHW[partner_B], partner_B, share)


def _cutmix(x_BCHW: Tensor, partner_B: Tensor, share: float, generator: Generator) -> Mixed:
    """The box is centred anywhere and cut off at the border; `share` is what is left, as in torchvision's `CutMix`."""
    height, width = x_BCHW.shape[2:]
    side = 0.5 * math.sqrt(1 - share)
    y, x = (int(torch.randint(extent, (), generator=generator)) for extent in (height, width))
    half_height, half_width = int(side * height), int(side * width)
    top, bottom = max(0, y - half_height), min(height, y + half_height)
    left, right = max(0, x - half_width), min(width, x + half_width)
    mixed_BCHW = x_BCHW.clone()
    mixed_BCHW[:, :, top:bottom, left:right] = x_BCHW[partner_B, :, top:bottom, left:right]
    return Mixed(mixed_BCHW, partner_B, 1 - (bottom - top) * (right - left) / (height * width))


def _beta(alpha: float, generator: Generator) -> float:
    """A Beta draw, of two gammas (Devroye 1986, IX.3): PyTorch's distributions take no generator."""
    a, b = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator).tolist()
    return 1.0 if a + b == 0 else a / (a + b)
