"""Augmentation of whole batches, on the device that they lie on.

Every step takes and gives uint8 images and draws each image's own random numbers from one generator, whose state is
all that has to be kept to go on exactly.  In distribution the steps equal torchvision's `RandomCrop(padding=)`,
`RandomResizedCrop`, `RandomHorizontalFlip`, `RandomVerticalFlip`, `RandomAffine(interpolation=BILINEAR)` and
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
from torchvision.transforms.v2 import functional as tv

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

SMALL = 64 * 64  # pixels
TRIES = 10  # boxes that a random resized crop draws, as torchvision does

Size = tuple[int, int]  # height, width
Augment = Callable[[Tensor, Generator], Tensor]  # uint8 [B,C,H,W] and a generator on its device -> uint8 [B,C,H,W]


def compose(steps: Sequence[AugmentationStep], size: Size | None = None) -> Augment | None:
    """The steps in their order; None if there are none.  What is cut comes out at `size`, else as large as it was."""
    if not steps:
        return None
    functions = [_function(step, size) for step in steps]

    def augment(x_BCHW: Tensor, generator: Generator) -> Tensor:
        for function in functions:
            x_BCHW = function(x_BCHW, generator)
        return x_BCHW

    return augment


def cuts(steps: Sequence[AugmentationStep]) -> bool:
    """Whether parts of the images as they are given are brought to the network's size: more pixels show more then."""
    return bool(steps) and isinstance(steps[0], RandomResizedCrop)


def _function(step: AugmentationStep, size: Size | None) -> Augment:
    match step:
        case RandomCrop(padding=padding):
            return partial(random_crop, padding=padding)
        case RandomResizedCrop(scale=scale, ratio=ratio):
            return partial(random_resized_crop, scale=scale, ratio=ratio, size=size)
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
    x_BCHW: Tensor,
    generator: Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    size: Size | None = None,
) -> Tensor:
    """Cut a box of a share `scale` of the area and of an aspect within `ratio`, and resize it to `size`, else to the
    original size.

    Of `TRIES` boxes the first that fits is taken, else the largest in the middle whose aspect is not beyond `ratio`.
    """
    batch, _, height, width = x_BCHW.shape
    u = torch.rand((2, TRIES, batch), generator=generator, device=x_BCHW.device)
    area_TB = height * width * (scale[0] + (scale[1] - scale[0]) * u[0])
    aspect_TB = torch.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * u[1])
    sides_2TB = torch.stack(((area_TB / aspect_TB).sqrt().round(), (area_TB * aspect_TB).sqrt().round()))
    whole_21 = torch.tensor([[height], [width]], device=x_BCHW.device)
    fits_TB = ((sides_2TB >= 1) & (sides_2TB <= whole_21[..., None])).all(0)
    first_B = fits_TB.int().argmax(0)
    sides_2B = sides_2TB.gather(1, first_B.expand(2, 1, batch))[:, 0]
    at_2B = torch.rand((2, batch), generator=generator, device=x_BCHW.device).mul(whole_21 - sides_2B + 1).floor_()
    central_21 = torch.tensor(_central(height, width, ratio), device=x_BCHW.device)[:, None]
    found_B = fits_TB.any(0)
    sides_2B = torch.where(found_B, sides_2B, central_21)
    at_2B = torch.where(found_B, at_2B, (whole_21 - central_21).div(2, rounding_mode="floor"))
    return resized_crop(x_BCHW, at_2B, sides_2B, size or (height, width))


def _central(height: int, width: int, ratio: tuple[float, float]) -> tuple[float, float]:
    """Height and width of the box where none that was drawn fits."""
    aspect = min(max(width / height, ratio[0]), ratio[1])
    return round(min(height, width / aspect)), round(min(width, height * aspect))


def resized_crop(x_BCHW: Tensor, at_2B: Tensor, sides_2B: Tensor, size: Size) -> Tensor:
    """Of image b the box at (top, left) `at_2B[:, b]` with (height, width) `sides_2B[:, b]`, at `size`.

    Bilinear, and smoothed where a box is larger than `size`.  Large images on a CPU are faster one by one, by the
    integer arithmetic that torchvision has for them.
    """
    if x_BCHW.device.type == "cpu" and x_BCHW[0, 0].numel() > SMALL:
        boxes = torch.cat((at_2B, sides_2B)).int().T.tolist()
        return torch.stack(
            [
                tv.resized_crop(x_CHW, top, left, height, width, list(size))
                for x_CHW, (top, left, height, width) in zip(x_BCHW, boxes, strict=True)
            ]
        )
    made = _enlarged(x_BCHW, at_2B, sides_2B) if x_BCHW.shape[2:] == size else _resampled(x_BCHW, at_2B, sides_2B, size)
    return made.round_().to(torch.uint8)


def _resampled(x_BCHW: Tensor, at_2B: Tensor, sides_2B: Tensor, size: Size) -> Tensor:
    """By a triangle as wide as a pixel of the result, where that is larger, as Pillow's and torchvision's is."""
    y_BHh, x_BWw = (
        _triangles(whole, *place, count)
        for whole, place, count in zip(x_BCHW.shape[2:], zip(at_2B, sides_2B, strict=True), size, strict=True)
    )
    return y_BHh[:, None] @ x_BCHW.float() @ x_BWw[:, None].mT


def _triangles(whole: int, first_B: Tensor, side_B: Tensor, count: int) -> Tensor:
    """[B,count,whole]: what each of `count` pixels takes of the `side_B[b]` from `first_B[b]` on; sums are 1."""
    first_B11, side_B11 = first_B[:, None, None], side_B[:, None, None]
    scale_B11 = side_B11 / count
    centre_BS1 = first_B11 + (torch.arange(count, device=first_B.device)[:, None] + 0.5) * scale_B11
    at_N = torch.arange(whole, device=first_B.device)
    weight_BSN = (1 - (at_N + 0.5 - centre_BS1).abs() / scale_B11.clamp(min=1)).clamp(min=0)
    weight_BSN = weight_BSN * ((at_N >= first_B11) & (at_N < first_B11 + side_B11))
    return weight_BSN / weight_BSN.sum(2, keepdim=True)


def _enlarged(x_BCHW: Tensor, at_2B: Tensor, sides_2B: Tensor) -> Tensor:
    """At the images' own size, which no box is larger than, so that there is nothing to smooth."""
    places = []
    for size, first_B, side_B in zip(x_BCHW.shape[2:], at_2B[:, :, None], sides_2B[:, :, None], strict=True):
        within_BS = (torch.arange(size, device=x_BCHW.device) + 0.5) * side_B / size - 0.5
        place_BS = first_B + within_BS.clamp(min=0).minimum(side_B - 1)
        places.append(place_BS * (2 / max(1, size - 1)) - 1)  # in `grid_sample`'s coordinates: −1 … 1
    y_BH, x_BW = places
    shape_BHW = (len(x_BCHW), *x_BCHW.shape[2:])
    grid = torch.stack((x_BW[:, None, :].expand(shape_BHW), y_BH[:, :, None].expand(shape_BHW)), dim=3)
    return F.grid_sample(x_BCHW.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)


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
