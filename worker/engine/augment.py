"""Augmentation of whole batches, on the device that they lie on.

Every step takes and gives uint8 images and draws each image's own random numbers from one generator, whose state is
all that has to be kept to go on exactly.  In distribution the steps equal torchvision's `RandomCrop(padding=)`,
`RandomHorizontalFlip`, `RandomVerticalFlip`, `RandomAffine(interpolation=BILINEAR)` and
`RandomApply([RandomChannelPermutation()])`, which are done here for a batch at once; the other steps are torchvision's
own, image by image.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torchvision.transforms import v2

from app.methods.augmentation import (
    MAGNITUDES,
    AugmentationStep,
    ColourJitter,
    ColourPermutation,
    HorizontalFlip,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    TrivialAugment,
    VerticalFlip,
)

Augment = Callable[[Tensor, Generator], Tensor]  # uint8 [B,C,H,W] and a generator on its device -> uint8 [B,C,H,W]


def compose(steps: Sequence[AugmentationStep]) -> Augment | None:
    """The steps in their order; None if there are none."""
    if not steps:
        return None
    functions = [_function(step) for step in steps]

    def augment(x_BCHW: Tensor, generator: Generator) -> Tensor:
        for function in functions:
            x_BCHW = function(x_BCHW, generator)
        return x_BCHW

    return augment


def _function(step: AugmentationStep) -> Augment:
    match step:
        case RandomCrop(padding=padding):
            return partial(random_crop, padding=padding)
        case RandomResizedCrop(scale=scale, ratio=ratio):
            return partial(random_resized_crop, scale=scale, ratio=ratio)
        case HorizontalFlip(p=p):
            return partial(flip, p=p, side=-1)
        case VerticalFlip(p=p):
            return partial(flip, p=p, side=-2)
        case RandomAffine(degrees=degrees, translate=translate, scale=scale):
            return partial(random_affine, degrees=degrees, translate=translate, scale=scale)
        case ColourPermutation(p=p):
            return partial(colour_permutation, p=p)
        case ColourJitter() | RandAugment() | TrivialAugment() | RandomErasing():
            return partial(one_by_one, transform=_torchvisions(step))


def _torchvisions(step: ColourJitter | RandAugment | TrivialAugment | RandomErasing) -> v2.Transform:
    match step:
        case ColourJitter():
            return v2.ColorJitter(step.brightness, step.contrast, step.saturation, step.hue)
        case RandAugment():
            return v2.RandAugment(step.num_ops, step.magnitude, MAGNITUDES)
        case TrivialAugment():
            return v2.TrivialAugmentWide(MAGNITUDES)
        case RandomErasing():
            return v2.RandomErasing(step.p, step.scale, step.ratio)


def one_by_one(x_BCHW: Tensor, generator: Generator, *, transform: v2.Transform) -> Tensor:
    """A transform of torchvision on every image.

    It draws once a call, from PyTorch's global generator on the CPU: that one is seeded from ours for the while.  The
    global generators of GPUs are left alone, which `torch.manual_seed` would not do.
    """
    seed = torch.randint(2**63 - 1, (), generator=generator, device=x_BCHW.device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))
        return torch.stack([transform(x_CHW) for x_CHW in x_BCHW])


def random_resized_crop(
    x_BCHW: Tensor, generator: Generator, *, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    height, width = x_BCHW.shape[2:]
    return one_by_one(x_BCHW, generator, transform=v2.RandomResizedCrop((height, width), scale, ratio))


def random_crop(x_BCHW: Tensor, generator: Generator, *, padding: int) -> Tensor:
    """Pad by `padding` black pixels on each side, then cut the original size at a place of each image's own."""
    batch, _, height, width = x_BCHW.shape
    padded_BHWC = F.pad(x_BCHW, (padding,) * 4).permute(0, 2, 3, 1)
    windows = padded_BHWC.unfold(1, height, 1).unfold(2, width, 1)  # a view: [B, 2p+1, 2p+1, C, H, W]
    at = torch.randint(2 * padding + 1, (2, batch), generator=generator, device=x_BCHW.device)
    return windows[torch.arange(batch, device=x_BCHW.device), at[0], at[1]]


def flip(x_BCHW: Tensor, generator: Generator, *, p: float, side: int) -> Tensor:
    """Mirror along `side`: −1 left and right, −2 top and bottom."""
    flip_B = torch.rand(len(x_BCHW), generator=generator, device=x_BCHW.device) < p
    return torch.where(flip_B[:, None, None, None], x_BCHW.flip(side), x_BCHW)


def random_affine(
    x_BCHW: Tensor, generator: Generator, *, degrees: float, translate: float, scale: tuple[float, float]
) -> Tensor:
    """Rotate about the centre, scale, and shift by whole pixels, each uniform in its range."""
    batch, _, height, width = x_BCHW.shape
    u = torch.rand((4, batch), generator=generator, device=x_BCHW.device)
    angle_B = (2 * u[0] - 1) * math.radians(degrees)
    scale_B = scale[0] + (scale[1] - scale[0]) * u[1]
    shift_B2 = torch.stack(((2 * u[2] - 1) * translate * width, (2 * u[3] - 1) * translate * height), dim=1).round()
    return affine(x_BCHW, angle_B, scale_B, shift_B2)


def affine(x_BCHW: Tensor, angle_B: Tensor, scale_B: Tensor, shift_B2: Tensor) -> Tensor:
    """Rotate image b clockwise by `angle_B[b]` radians, scale it, both about its centre, and shift it by (x, y) pixels.

    Bilinear, black outside.
    """
    height, width = x_BCHW.shape[2:]
    theta_B23 = _inverse(angle_B, scale_B, shift_B2, height, width)
    grid = F.affine_grid(theta_B23, list(x_BCHW.shape), align_corners=False)
    moved = F.grid_sample(x_BCHW.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.round_().to(torch.uint8)


def _inverse(angle_B: Tensor, scale_B: Tensor, shift_B2: Tensor, height: int, width: int) -> Tensor:
    """From a pixel of the result to where it comes from, in `affine_grid`'s coordinates: −1 … 1 over each side."""
    cos_B, sin_B = torch.cos(angle_B) / scale_B, torch.sin(angle_B) / scale_B
    x_B, y_B = shift_B2.unbind(1)
    top = torch.stack((cos_B, sin_B * height / width, -2 * (cos_B * x_B + sin_B * y_B) / width), dim=1)
    bottom = torch.stack((-sin_B * width / height, cos_B, -2 * (cos_B * y_B - sin_B * x_B) / height), dim=1)
    return torch.stack((top, bottom), dim=1)


def colour_permutation(x_BCHW: Tensor, generator: Generator, *, p: float) -> Tensor:
    """With probability `p` put an image's channels into a random order, which may be the one they had."""
    batch, channels, height, width = x_BCHW.shape
    order_BC = torch.rand((batch, channels), generator=generator, device=x_BCHW.device).argsort(1)
    kept_BC = torch.arange(channels, device=x_BCHW.device).expand(batch, channels)
    permute_B1 = torch.rand((batch, 1), generator=generator, device=x_BCHW.device) < p
    index_BC = torch.where(permute_B1, order_BC, kept_BC)
    return x_BCHW.gather(1, index_BC[:, :, None, None].expand(-1, -1, height, width))
