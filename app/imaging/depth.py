"""Pixels of any depth and with any transparency, brought to 8 bits a channel so that a person recognises the picture.

Transparency is composed over white; where that leaves nothing to see (a white shape), over black; where no pixel is
visible at all, the transparency is left out.  Of whole numbers beyond 8 bits the bits in use are told by the greatest
value: up to 255 it is taken as it is, up to 4095 as 12 bits, up to 65535 as 16 bits, and the upper 8 of these are kept.
Numbers with a fraction: 0 to 1 and −1 to 1 become 0 to 255, 0 to 255 stays, any other range is stretched over
0 to 255; so are whole numbers that are negative or beyond 16 bits.  A number that is not finite counts as the least.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Change = Literal["transparency", "depth", "pages"]  # what of a file is not kept as it was

CONTRAST = 16  # of 255: a composed picture that varies by less shows nothing
_GREY = ("1", "L", "LA", "La")
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_WIDE = ("I", "F")


def wide(image: Image.Image) -> bool:
    """Tell whether an image's numbers are not of 8 bits."""
    return image.mode in _WIDE or image.mode.startswith("I;")


def transparent(image: Image.Image) -> bool:
    """Tell whether an image has transparency, be it of no pixel."""
    return image.mode in _ALPHA or "transparency" in image.info


def brought_over(
    image: Image.Image, last: Callable[[Image.Image], Image.Image] = lambda image: image
) -> tuple[Pixels, frozenset[Change]]:
    """uint8 [H,W,C], C = 1 (grey) or 3, of a loaded image, and what had to be changed for it.

    `last` is done to a picture of 8 bits, grey or RGB, before it becomes an array; not to one of another depth.
    """
    if wide(image):
        return _scaled(np.asarray(image))[:, :, None], frozenset({"depth"})
    if transparent(image):
        picture, changes = _composed(image)
        return _plain(picture, last), changes
    return _plain(image, last), frozenset()


def _plain(image: Image.Image, last: Callable[[Image.Image], Image.Image]) -> Pixels:
    mode = "L" if image.mode in _GREY else "RGB"
    picture = last(image if image.mode == mode else image.convert(mode))
    return np.asarray(picture)[:, :, None] if mode == "L" else np.asarray(picture)


def _composed(image: Image.Image) -> tuple[Image.Image, frozenset[Change]]:
    """The picture over a ground, where any of its pixels lets that through."""
    grey = image.mode in _GREY
    full = image.convert("RGBA")
    alpha = full.getchannel("A")
    colours = full.convert("RGB")  # drops the alpha
    least, greatest = alpha.getextrema()
    if least == 255:
        return colours.convert("L") if grey else colours, frozenset()
    if greatest:
        white, black = (_over(colours, alpha, ground) for ground in (255, 0))
        colours = black if _contrast(white) < CONTRAST <= _contrast(black) else white
    return colours.convert("L") if grey else colours, frozenset({"transparency"})


def _over(colours: Image.Image, alpha: Image.Image, ground: int) -> Image.Image:
    return Image.composite(colours, Image.new("RGB", colours.size, (ground,) * 3), alpha)


def _contrast(image: Image.Image) -> int:
    """The widest range that a channel has."""
    pixels_HWC = np.asarray(image)
    return int((pixels_HWC.max(axis=(0, 1)) - pixels_HWC.min(axis=(0, 1))).max())


def _scaled(values_HW: NDArray[Any]) -> Pixels:
    if values_HW.dtype.kind == "f":
        return _from_fractions(values_HW)
    least, greatest = int(values_HW.min()), int(values_HW.max())
    if least < 0 or greatest > 65535:
        return _stretched(values_HW.astype(np.float64), least, greatest)
    shift = 0 if greatest < 256 else 4 if greatest < 4096 else 8
    return (values_HW >> shift).astype(np.uint8)


def _from_fractions(values_HW: NDArray[np.floating[Any]]) -> Pixels:
    finite = np.isfinite(values_HW)
    if not finite.any():
        return np.zeros(values_HW.shape, np.uint8)
    least, greatest = float(values_HW[finite].min()), float(values_HW[finite].max())
    all_HW = np.where(finite, values_HW, least).astype(np.float64)
    for low, high in ((0, 1), (-1, 1), (0, 255)):
        if low <= least and greatest <= high:
            return _stretched(all_HW, low, high)
    return _stretched(all_HW, least, greatest)


def _stretched(values_HW: NDArray[np.float64], low: float, high: float) -> Pixels:
    return np.rint((values_HW - low) * (255 / ((high - low) or 1))).astype(np.uint8)
