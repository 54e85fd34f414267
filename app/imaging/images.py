"""From an image file to the pixels that a network takes: one path, for training, evaluation and prediction alike."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from app.imaging import depth
from app.imaging.depth import Change
from app.methods.inputs import InputSpec

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
READABLE = "JPEG, PNG, WebP, BMP, GIF or TIFF"  # the same for people
MAX_PIXELS = 50 * 2**20  # the 50 megapixels of a telephone pass, 8000×8000 does not
MAX_SIDE = 512
UPRIGHT = 1  # EXIF's orientation of an image that is shown as it is stored

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTERS = threading.Lock()  # over Python's list of warning filters, which all threads share


class BadImage(Exception):
    """The file is no image that we read; its text is a sentence for whoever sent it."""


def decode(data: bytes) -> Pixels:
    """A JPEG, PNG, WebP, BMP, GIF or TIFF as uint8 [H,W,C], C = 1 (grey) or 3; of several frames or pages the first.

    Turned upright by its EXIF orientation.  `app.imaging.depth` composes transparency and gives 8 bits.
    Safe to call from many threads.

    Raises:
        BadImage: empty, of another format, broken, cut short, or of more than `MAX_PIXELS` pixels.
    """
    return decoded(opened(data))


def opened(data: bytes) -> Image.Image:
    """The file with its size and format known, and nothing decoded yet.

    Raises:
        BadImage: see `decode`.
    """
    if not data:
        raise BadImage(f"The file is empty; a {READABLE} is read.")
    with _told(), _quiet():
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise BadImage(f"The image has {width}×{height} pixels; {MAX_PIXELS:,} in all are the limit.")
    return image


def decoded(image: Image.Image) -> Pixels:
    """What `opened` gave, as `decode` gives it.

    Raises:
        BadImage: see `decode`.
    """
    return changed(image)[0]


def changed(image: Image.Image) -> tuple[Pixels, frozenset[Change]]:
    """The same, and what of the file is not kept as it was.

    Raises:
        BadImage: see `decode`.
    """
    with _told():
        pages: frozenset[Change] = frozenset({"pages"} if _has_more_pages(image) else ())
        image.load()
        turn = _TURNS.get(_orientation(image))
        pixels, changes = depth.brought_over(image if turn is None else image.transpose(turn))
        return pixels, changes | pages


def bound(image: Pixels) -> Pixels:
    """Shrunk to at most `MAX_SIDE` pixels a side, its aspect kept; smaller ones come back as they are."""
    return _resized(image, _inside(image, MAX_SIDE, MAX_SIDE)) if max(image.shape) > MAX_SIDE else image


def fit(image: Pixels, spec: InputSpec) -> Pixels:
    """uint8 [H,W,C] at the size and channels of `spec`: stretched, or padded with black, within its margin.

    Colour becomes grey by ITU-R 601-2 luma, grey becomes colour by repetition.  Resizing is Pillow's antialiased
    bilinear filter.
    """
    height, width = (side - 2 * spec.margin for side in spec.size)
    if spec.channels == 1 and image.shape[2] == 3:
        image = np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    image = _resized(image, (height, width) if spec.fit == "stretch" else _inside(image, height, width))
    if spec.channels == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return image if image.shape[:2] == spec.size else _centred(image, spec.size)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Within, whatever goes wrong with a file is a BadImage."""
    try:
        yield
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BadImage(f"The file is not a readable {READABLE}.") from None
    except Exception as error:  # on hostile files Pillow's plug-ins raise nearly everything there is
        raise BadImage(f"The image is broken: {error}.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within, Pillow's warnings are ignored, but for that of a decompression bomb, which is an error."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _orientation(image: Image.Image) -> int:
    # a damaged EXIF block may raise anything, and the picture is as good without it
    with contextlib.suppress(Exception), _quiet():
        return int(image.getexif().get(ExifTags.Base.Orientation, UPRIGHT))
    return UPRIGHT


def _has_more_pages(image: Image.Image) -> bool:
    """Of a TIFF, told by its first directory: counting them all would read every one."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and bool(image.tag_v2.next)


def _inside(image: Pixels, height: int, width: int) -> tuple[int, int]:
    """The largest (height, width) of the image's aspect that lies within the given one."""
    scale = min(height / image.shape[0], width / image.shape[1])
    return max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))


def _resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    if image.shape[:2] == size:
        return image
    grey = image.shape[2] == 1
    picture = Image.fromarray(image[:, :, 0] if grey else image)
    pixels = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
    return pixels[:, :, None] if grey else pixels


def _centred(image: Pixels, size: tuple[int, int]) -> Pixels:
    canvas = np.zeros((*size, image.shape[2]), np.uint8)
    height, width = image.shape[:2]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas
