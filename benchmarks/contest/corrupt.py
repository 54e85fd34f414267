"""Corruptions of small photographs, after Hendrycks & Dietterich 2019, Benchmarking neural network robustness to
common corruptions and perturbations: fourteen of their fifteen (frost needs photographs of theirs), the severest.

Written from the paper's descriptions; the strengths were set by memory of those of CIFAR-10-C and never compared with
the published archive, and random numbers are not its.  So figures are to be compared with each other, not with those
that others published.  Each function takes float [H,W,3] from 0 to 1 and a generator, and returns the same; what leaves
0 to 1 is clipped by `apply`.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.float64]
Corruption = Callable[[Pixels, np.random.Generator], Pixels]


def apply(name: str, image_HWC: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [H,W,3], corrupted."""
    pixels_HWC = CORRUPTIONS[name](image_HWC / 255, random)
    return np.asarray(np.clip(pixels_HWC, 0, 1) * 255).round().astype(np.uint8)


def gaussian_noise(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    return x_HWC + random.normal(0, 0.1, x_HWC.shape)


def shot_noise(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """Photons that are counted: at most 75 a pixel in the mean."""
    return random.poisson(x_HWC * 75) / 75


def impulse_noise(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """Salt and pepper on 7 % of the values."""
    struck, salt = random.random(x_HWC.shape) < 0.07, random.random(x_HWC.shape) < 0.5
    return np.where(struck, salt.astype(float), x_HWC)


def defocus_blur(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """A disk for a point, its edge smoothed."""
    place = np.arange(-8, 9)
    disk = (place[:, None] ** 2 + place[None, :] ** 2 <= 1.5**2).astype(float)
    return _convolved(x_HWC, ndimage.gaussian_filter(disk / disk.sum(), 0.5))


def glass_blur(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """Every pixel takes a neighbour's place, twice, between two slight blurs."""
    blurred_HWC = ndimage.gaussian_filter(x_HWC, (0.4, 0.4, 0))
    size_211 = np.array(x_HWC.shape[:2])[:, None, None]
    for _ in range(2):
        place_2HW = np.indices(x_HWC.shape[:2]) + random.integers(-1, 2, (2, *x_HWC.shape[:2]))
        row_HW, column_HW = np.clip(place_2HW, 0, size_211 - 1)
        blurred_HWC = blurred_HWC[row_HW, column_HW]
    return np.asarray(ndimage.gaussian_filter(blurred_HWC, (0.4, 0.4, 0)))


def motion_blur(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """Along a line of up to 45° from the horizontal, weights falling off to one side."""
    return _convolved(x_HWC, _line(9, 2.5, random.uniform(-45, 45)))


def zoom_blur(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """The mean of the image and of its middle, enlarged by up to a quarter."""
    return np.mean([x_HWC, *(_enlarged(x_HWC, factor) for factor in np.arange(1, 1.26, 0.01))], 0)


def snow(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """Flakes that were blurred as they fell, over a whitened image."""
    flakes_HW = _enlarged(random.normal(0.3, 0.3, x_HWC.shape[:2])[..., None], 1.25)[..., 0]
    flakes_HW = np.clip(np.where(flakes_HW < 0.65, 0, flakes_HW), 0, 1)
    fallen_HW1 = _convolved(flakes_HW[..., None], _line(14, 12, random.uniform(-135, -45)))
    grey_HW1 = x_HWC @ np.array([[0.299], [0.587], [0.114]])
    white_HWC = 0.8 * x_HWC + 0.2 * np.maximum(x_HWC, grey_HW1 * 1.5 + 0.5)
    return white_HWC + fallen_HW1 + np.rot90(fallen_HW1, 2)


def fog(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """A plasma fractal in front of the image, the whole scaled back to the image's brightness."""
    most, height, width = x_HWC.max(), *x_HWC.shape[:2]
    haze_HW1 = _plasma(max(height, width), 1.75, random)[:height, :width, None]
    return (x_HWC + 1.5 * haze_HW1) * most / (most + 1.5)


def brightness(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """0.3 more of HSV's value: all channels grow by one factor."""
    value_HW1 = x_HWC.max(2, keepdims=True)
    grown_HW1 = np.minimum(value_HW1 + 0.3, 1)
    return np.where(value_HW1 > 0, x_HWC * grown_HW1 / np.maximum(value_HW1, 1e-6), grown_HW1)


def contrast(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    mean = x_HWC.mean((0, 1))
    return mean + 0.15 * (x_HWC - mean)


def elastic_transform(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """A slight random affine map, then smooth random shifts of a pixel or so."""
    height, width = x_HWC.shape[:2]
    size = np.array([height, width])
    affine_22, shift_2 = np.eye(2) + random.uniform(-0.08, 0.08, (2, 2)), random.uniform(-1, 1, 2)
    place_2HW = np.indices((height, width)) - (size / 2)[:, None, None]
    moved_2HW = np.tensordot(affine_22, place_2HW, 1) + (size / 2 + shift_2)[:, None, None]
    wave_2HW = np.stack([ndimage.gaussian_filter(random.uniform(-1, 1, (height, width)), 1.0) for _ in range(2)])
    return _sampled(x_HWC, moved_2HW + 3.2 * wave_2HW)


def pixelate(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """Made smaller by means over boxes, to 65 % a side, and larger again by the nearest pixel."""
    height, width = x_HWC.shape[:2]
    image = Image.fromarray((x_HWC * 255).round().astype(np.uint8))
    small = image.resize((int(width * 0.65), int(height * 0.65)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST)) / 255


def jpeg_compression(x_HWC: Pixels, random: np.random.Generator) -> Pixels:
    """Quality 40."""
    file = io.BytesIO()
    Image.fromarray((x_HWC * 255).round().astype(np.uint8)).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file)) / 255


def _convolved(x_HWC: Pixels, kernel: Pixels) -> Pixels:
    return ndimage.convolve(x_HWC, kernel[..., None], mode="mirror")


def _line(radius: int, deviation: float, degrees: float) -> Pixels:
    """[2·radius+1, the same]: a half line from the middle, Gaussian along it, sums to 1."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for step in np.linspace(0, radius, 4 * radius):
        angle = np.deg2rad(degrees)
        row, column = radius - step * np.sin(angle), radius + step * np.cos(angle)
        kernel[round(row), round(column)] += np.exp(-((step / deviation) ** 2) / 2)
    return kernel / kernel.sum()


def _enlarged(x_HWC: Pixels, factor: float) -> Pixels:
    """The image's middle, larger by the factor, of the same size in pixels."""
    middle_2 = (np.array(x_HWC.shape[:2]) - 1) / 2
    place_2HW = np.indices(x_HWC.shape[:2]) - middle_2[:, None, None]
    return _sampled(x_HWC, place_2HW / factor + middle_2[:, None, None])


def _sampled(x_HWC: Pixels, place_2HW: NDArray[np.float64]) -> Pixels:
    """Bilinear, mirrored at the edges."""
    channels = np.moveaxis(x_HWC, 2, 0)
    return np.stack([ndimage.map_coordinates(each_HW, place_2HW, order=1, mode="mirror") for each_HW in channels], 2)


def _plasma(size: int, decay: float, random: np.random.Generator) -> Pixels:
    """[2ⁿ ≥ size, the same], from 0 to 1: diamonds and squares, the noise divided by `decay` at each halving."""
    side = 1 << max(1, (size - 1).bit_length())
    field, step, noise = np.zeros((side, side)), side, 1.0
    while step > 1:
        half = step // 2
        corners = field[::step, ::step]
        below, right = np.roll(corners, -1, 0), np.roll(corners, -1, 1)
        middle = (corners + below + right + np.roll(below, -1, 1)) / 4 + random.uniform(-noise, noise, corners.shape)
        field[half::step, half::step] = middle
        above, left = np.roll(middle, 1, 0), np.roll(middle, 1, 1)
        field[::step, half::step] = (corners + right + middle + above) / 4 + random.uniform(
            -noise, noise, corners.shape
        )
        field[half::step, ::step] = (corners + below + middle + left) / 4 + random.uniform(-noise, noise, corners.shape)
        step, noise = half, noise / decay
    field -= field.min()
    return field / field.max()


CORRUPTIONS: dict[str, Corruption] = {
    one.__name__: one
    for one in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}
