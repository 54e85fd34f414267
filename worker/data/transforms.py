"""Augmentation of whole batches, on the device that they lie on.

Every step takes and gives uint8 images and draws each image's own random numbers from one generator, whose state is
all that has to be kept to go on exactly.  In distribution the steps equal torchvision's `RandomCrop(padding=)`,
`RandomResizedCrop`, `RandomHorizontalFlip`, `RandomVerticalFlip`, `RandomAffine(interpolation=BILINEAR)`,
`RandomApply([RandomChannelPermutation()])`, `RandomApply([ColorJitter()])`, `RandomGrayscale`,
`RandomApply([GaussianBlur()])` and `RandomSolarize`, which are done here for a batch at once; the other steps are
torchvision's own, image by image.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from app.contract.augmentation import (
    MAGNITUDES,
    AugmentationStep,
    ColourJitter,
    ColourPermutation,
    GaussianBlur,
    Greyscale,
    HorizontalFlip,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Solarise,
    TrivialAugment,
    VerticalFlip,
)

SMALL = 64 * 64  # pixels
DEVIATIONS = 3  # beyond which a Gaussian is cut off
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
    """Tell whether parts of the given images are brought to the network's size: more pixels show more then."""
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
        case ColourJitter():
            return partial(colour_jitter, step=step)
        case Greyscale(p=p):
            return partial(greyscale, p=p)
        case GaussianBlur(p=p, sigma=sigma):
            return partial(gaussian_blur, p=p, sigma=sigma)
        case Solarise(p=p, threshold=threshold):
            return partial(solarise, p=p, threshold=threshold)
        case RandAugment() | TrivialAugment() | RandomErasing():
            return partial(one_by_one, transform=_torchvisions(step))


def _torchvisions(step: RandAugment | TrivialAugment | RandomErasing) -> v2.Transform:
    match step:
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
    fits_B = fits_TB.any(0)
    sides_2B = torch.where(fits_B, sides_2B, central_21)
    at_2B = torch.where(fits_B, at_2B, (whole_21 - central_21).div(2, rounding_mode="floor"))
    return resized_crop(x_BCHW, at_2B, sides_2B, size or (height, width))


def _central(height: int, width: int, ratio: tuple[float, float]) -> tuple[float, float]:
    """Height and width of the box where none that was drawn fits."""
    aspect = min(max(width / height, ratio[0]), ratio[1])
    return round(min(height, width / aspect)), round(min(width, height * aspect))


def resized_crop(x_BCHW: Tensor, at_2B: Tensor, sides_2B: Tensor, size: Size) -> Tensor:
    """Crop from image b the box at (top, left) `at_2B[:, b]` with (height, width) `sides_2B[:, b]`, at `size`.

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
    resized = (
        _enlarged(x_BCHW, at_2B, sides_2B) if x_BCHW.shape[2:] == size else _resampled(x_BCHW, at_2B, sides_2B, size)
    )
    return resized.round_().to(torch.uint8)


def _resampled(x_BCHW: Tensor, at_2B: Tensor, sides_2B: Tensor, size: Size) -> Tensor:
    """Resample by a triangle as wide as a pixel of the result, where that is larger, as Pillow's and torchvision's
    is."""
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
    """Enlarge to the images' own size, which no box is larger than, so that there is nothing to smooth."""
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
    """The map from a pixel of the result to where it comes from, in `affine_grid`'s coordinates: −1 … 1 over each
    side."""
    cos_B, sin_B = torch.cos(angle_B) / scale_B, torch.sin(angle_B) / scale_B
    x_B, y_B = shift_B2.unbind(1)
    top = torch.stack((cos_B, sin_B * height / width, -2 * (cos_B * x_B + sin_B * y_B) / width), dim=1)
    bottom = torch.stack((-sin_B * width / height, cos_B, -2 * (cos_B * y_B - sin_B * x_B) / height), dim=1)
    return torch.stack((top, bottom), dim=1)


def colour_permutation(x_BCHW: Tensor, generator: Generator, *, p: float) -> Tensor:
    """Put an image's channels, with probability `p`, into a random order, which may be the one they had."""
    batch, channels, height, width = x_BCHW.shape
    order_BC = torch.rand((batch, channels), generator=generator, device=x_BCHW.device).argsort(1)
    kept_BC = torch.arange(channels, device=x_BCHW.device).expand(batch, channels)
    permute_B1 = torch.rand((batch, 1), generator=generator, device=x_BCHW.device) < p
    index_BC = torch.where(permute_B1, order_BC, kept_BC)
    return x_BCHW.gather(1, index_BC[:, :, None, None].expand(-1, -1, height, width))


def greyscale(x_BCHW: Tensor, generator: Generator, *, p: float) -> Tensor:
    """Every channel of an image becomes its luma, with probability `p`."""
    return torch.where(_chosen(x_BCHW, generator, p), _luma(x_BCHW).floor().to(torch.uint8), x_BCHW)


def solarise(x_BCHW: Tensor, generator: Generator, *, p: float, threshold: int) -> Tensor:
    """Values from `threshold` on are inverted, with probability `p`."""
    inverted_BCHW = torch.where(x_BCHW >= threshold, 255 - x_BCHW, x_BCHW)
    return torch.where(_chosen(x_BCHW, generator, p), inverted_BCHW, x_BCHW)


def gaussian_blur(x_BCHW: Tensor, generator: Generator, *, p: float, sigma: tuple[float, float]) -> Tensor:
    """Blur an image, with probability `p`, by a Gaussian of a deviation of its own, uniform in `sigma`, in pixels."""
    chosen_B111 = _chosen(x_BCHW, generator, p)
    sigma_B = _uniform(len(x_BCHW), generator, x_BCHW.device, *sigma)
    radius = max(1, math.ceil(DEVIATIONS * sigma[1]))
    return torch.where(chosen_B111, blurred(x_BCHW, sigma_B, radius), x_BCHW)


def blurred(x_BCHW: Tensor, sigma_B: Tensor, radius: int) -> Tensor:
    """Image b by a Gaussian of deviation `sigma_B[b]` that reaches `radius` pixels; mirrored at the border.

    One axis after the other, and a pixel of the Gaussian after the other: nothing larger than the batch is held.
    """
    at_K = torch.arange(-radius, radius + 1, device=x_BCHW.device)
    weight_BK = torch.exp(-0.5 * (at_K / sigma_B[:, None]).square())
    weight_BK = weight_BK / weight_BK.sum(1, keepdim=True)
    result_BCHW = x_BCHW.float()
    for side in (2, 3):
        count = result_BCHW.shape[side]
        mirrored_N = torch.arange(-radius, count + radius, device=x_BCHW.device).abs() % max(1, 2 * (count - 1))
        mirrored_N = torch.minimum(mirrored_N, 2 * (count - 1) - mirrored_N).clamp(min=0)
        padded = result_BCHW.index_select(side, mirrored_N)
        parts = (weight_BK[:, k, None, None, None] * padded.narrow(side, k, count) for k in range(len(at_K)))
        result_BCHW = sum(parts, torch.zeros_like(result_BCHW))
    return result_BCHW.round_().to(torch.uint8)


def colour_jitter(x_BCHW: Tensor, generator: Generator, *, step: ColourJitter) -> Tensor:
    """Change brightness, contrast, saturation and hue, with probability `step.p`, in an order of each image's own."""
    batch, device = len(x_BCHW), x_BCHW.device
    chosen_B111 = _chosen(x_BCHW, generator, step.p)
    factors = [
        _uniform(batch, generator, device, max(0.0, 1 - strength), 1 + strength)
        for strength in (step.brightness, step.contrast, step.saturation)
    ]
    changes = (brightness, contrast, saturation, hue)
    amounts = (*factors, _uniform(batch, generator, device, -step.hue, step.hue))
    order_B4 = torch.rand((batch, len(changes)), generator=generator, device=device).argsort(1)
    jittered_BCHW = x_BCHW.float()
    for place in range(len(changes)):
        before_BCHW = jittered_BCHW
        for which, (change, amount_B) in enumerate(zip(changes, amounts, strict=True)):
            row_N = (order_B4[:, place] == which).nonzero()[:, 0]
            changed = change(before_BCHW.index_select(0, row_N), amount_B[row_N, None, None, None])
            jittered_BCHW = jittered_BCHW.index_copy(0, row_N, changed)
    return torch.where(chosen_B111, jittered_BCHW.to(torch.uint8), x_BCHW)


# On whole numbers from 0 to 255 as float32, with a factor an image [B,1,1,1]; what a change gives is cut off to a whole
# number, as torchvision's on uint8 is.


def brightness(x_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    return _blend(x_BCHW, torch.zeros_like(x_BCHW), factor_B111)


def contrast(x_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from the mean of the luma, or towards it."""
    return _blend(x_BCHW, _luma(x_BCHW).floor().mean((1, 2, 3), keepdim=True), factor_B111)


def saturation(x_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from the luma, or towards it."""
    return x_BCHW if x_BCHW.shape[1] == 1 else _blend(x_BCHW, _luma(x_BCHW).floor(), factor_B111)


def hue(x_BCHW: Tensor, turn_B111: Tensor) -> Tensor:
    """Turned by that share of the circle, in the hexagon of hue, saturation and value."""
    if x_BCHW.shape[1] == 1:
        return x_BCHW
    value_B1HW, least_B1HW = x_BCHW.amax(1, keepdim=True), x_BCHW.amin(1, keepdim=True)
    spread_B1HW = value_B1HW - least_B1HW
    red, green, blue = torch.split(x_BCHW / spread_B1HW.clamp(min=1), 1, dim=1)
    sixth_B1HW = torch.where(
        x_BCHW[:, :1] == value_B1HW,
        green - blue,
        torch.where(x_BCHW[:, 1:2] == value_B1HW, 2 + blue - red, 4 + red - green),
    )
    sixth_B1HW = sixth_B1HW + 6 * turn_B111
    # Of red, green and blue each is high within a third of the circle to either side of its own hue.
    at_13 = torch.tensor([5.0, 3.0, 1.0], device=x_BCHW.device)[:, None, None]
    from_B3HW = (at_13 + sixth_B1HW) % 6
    low_B3HW = torch.minimum(from_B3HW, 4 - from_B3HW).clamp(0, 1)
    return (value_B1HW - spread_B1HW * low_B3HW + 0.5).floor_().clamp_(0, 255)


def _blend(x_BCHW: Tensor, other: Tensor, share_B111: Tensor) -> Tensor:
    return (share_B111 * x_BCHW + (1 - share_B111) * other).clamp_(0, 255).floor_()


def _luma(x_BCHW: Tensor) -> Tensor:
    """float32 [B,1,H,W]: ITU-R 601, as torchvision's; a grey image is its own."""
    if x_BCHW.shape[1] == 1:
        return x_BCHW.float()
    red, green, blue = torch.split(x_BCHW.float(), 1, dim=1)
    luma_B1HW: Tensor = 0.2989 * red + 0.587 * green + 0.114 * blue
    return luma_B1HW


def _chosen(x_BCHW: Tensor, generator: Generator, p: float) -> Tensor:
    """bool [B,1,1,1]: true with probability `p`."""
    return (torch.rand(len(x_BCHW), generator=generator, device=x_BCHW.device) < p)[:, None, None, None]


def _uniform(count: int, generator: Generator, device: torch.device, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, device=device)
