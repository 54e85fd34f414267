"""The path from an image file to the pixels that a network takes: one for training, evaluation and prediction alike."""

import contextlib
import io
import threading
import time
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from app.contract.inputs import InputSpec
from app.imaging import depth
from app.imaging.depth import Change

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
READABLE = "JPEG, PNG, WebP, BMP, GIF or TIFF"  # the same for people
MAX_PIXELS = 50 * 2**20  # the 50 megapixels of a telephone pass, 8000×8000 does not
SHORT_SIDE, LONG_SIDE = 512, 2048  # pixels, at most, of a stored image's sides
MAX_SCANS = 100  # of a JPEG: each goes over all of its pixels again; encoders write ten or so …
MAX_SCANNED = 600 * 2**20  # … and this many pixels together, 11 scans of the largest image
DRAFT = 2  # times the pixels that are wanted: of a JPEG are decoded at least, so that none is seen to be missing
HEAD_CPU_S, CPU_S = 1.0, 5.0  # of the thread that reads: for what comes before the pixels, and for the pixels
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
_SCAN = b"\xff\xda"  # "start of scan"; within a scan's data 0xFF is followed by 0x00 or 0xD0 to 0xD7
# bytes a pixel, at the most, while a file is decoded, and more where it has …
_BYTES = {"JPEG": 7, "PNG": 8, "GIF": 8, "BMP": 8, "TIFF": 12, "WEBP": 20}
_PROGRESSIVE_BYTES = 6  # … the coefficients of three channels
_ALPHA_BYTES, _WIDE_BYTES = 24, 40  # … transparency, or more than 8 bits a channel: see `app.imaging.depth`


class BadImage(Exception):
    """The file is no image that we read; its text is a sentence for whoever sent it."""


def decode(data: bytes, *, bounded: bool = False) -> Pixels:
    """A JPEG, PNG, WebP, BMP, GIF or TIFF as uint8 [H,W,C], C = 1 (grey) or 3; of several frames or pages the first.

    Turned upright by its EXIF orientation.  `app.imaging.depth` composes transparency and gives 8 bits.  If `bounded`
    it is shrunk as `bound` does, in less memory; a large JPEG is decoded at a half, a quarter or an eighth of its size
    (libjpeg's scaled inverse DCT) where that leaves `DRAFT` times the pixels a side.  Safe to call from many threads.

    Raises:
        BadImage: empty, of another format, broken, cut short, of more than `MAX_PIXELS` pixels, of more scans than are
            read, or its reading takes more than `HEAD_CPU_S` and `CPU_S` seconds of a processor.
    """
    return decoded(opened(data), bounded=bounded)


def opened(data: bytes) -> ImageFile:
    """The file with its size and format known, and nothing decoded yet.

    Raises:
        BadImage: see `decode`.
    """
    if not data:
        raise BadImage(f"The file is empty; a {READABLE} is read.")
    with _as_bad_image(), _QUIET:
        image: ImageFile = Image.open(_Timed(data, HEAD_CPU_S), formats=FORMATS)
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise BadImage(f"The image has {width}×{height} pixels; {MAX_PIXELS:,} in all are the limit.")
    if image.format == "JPEG":
        _require_few_scans(width * height, data.count(_SCAN))
    return image


def memory(image: ImageFile) -> int:
    """Bytes that the decoding of what `opened` gave takes, at the most."""
    each = _BYTES.get(image.format or "", max(_BYTES.values()))
    if "progressive" in image.info:
        each += _PROGRESSIVE_BYTES
    if depth.wide(image):
        each += _WIDE_BYTES
    elif depth.transparent(image):
        each += _ALPHA_BYTES
    return image.width * image.height * each


def decoded(image: ImageFile, *, bounded: bool = False) -> Pixels:
    """The pixels of what `opened` gave, as `decode` gives them.

    Raises:
        BadImage: see `decode`.
    """
    return changed(image, bounded=bounded)[0]


def is_bounded(size: tuple[int, ...]) -> bool:
    """Tell whether an image of these sides is stored as it is."""
    return _bounded(size) == size


def changed(image: ImageFile, *, bounded: bool = False) -> tuple[Pixels, frozenset[Change]]:
    """The pixels of what `opened` gave, as `decode` gives them, and what of the file is not kept as it was.

    Raises:
        BadImage: see `decode`.
    """
    with _as_bad_image():
        pages: frozenset[Change] = frozenset({"pages"} if _has_more_pages(image) else ())
        if isinstance(image.fp, _Timed):
            image.fp.allow(CPU_S)
        size = _bounded(image.size)
        if bounded and size != image.size:
            image.draft(None, (DRAFT * size[0], DRAFT * size[1]))  # of other formats than JPEG it does nothing
        image.load()
        turn = _TURNS.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        pixels, changes = depth.brought_over(upright, _shrunk) if bounded else depth.brought_over(upright)
        return bound(pixels) if bounded else pixels, changes | pages


def bound(image: Pixels) -> Pixels:
    """Shrunk to at most `SHORT_SIDE` and `LONG_SIDE` pixels, its aspect kept; others come back as they are."""
    return _resized(image, _bounded(image.shape[:2]))


def fit(image: Pixels, spec: InputSpec) -> Pixels:
    """uint8 [H,W,C] at the size and channels of `spec`: stretched, or padded with black, within its margin.

    Colour becomes grey by ITU-R 601-2 luma, grey becomes colour by repetition.  Resizing is Pillow's antialiased
    bilinear filter.
    """
    height, width = (side - 2 * spec.margin for side in spec.size)
    if spec.channels == 1 and image.shape[2] == 3:
        image = np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    image = _resized(image, (height, width) if spec.fit == "stretch" else _inside(image.shape[:2], height, width))
    if spec.channels == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return image if image.shape[:2] == spec.size else _centred(image, spec.size)


@contextlib.contextmanager
def _as_bad_image() -> Iterator[None]:
    """Within, whatever goes wrong with a file is a BadImage."""
    try:
        yield
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BadImage(f"The file is not a readable {READABLE}.") from None
    except Exception as error:  # on hostile files Pillow's plug-ins raise nearly everything there is
        raise BadImage(f"The image is broken: {error}.") from error


class _Quiet:
    """Within, Pillow's warnings are ignored, but for that of a decompression bomb, which is an error.

    Python's list of warning filters belongs to all threads: it is changed by the first that comes and put back by the
    last that leaves, so that none waits for the image of another.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._inside = 0
        self._before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._turn:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_QUIET = _Quiet()


class _Timed(io.BytesIO):
    """The bytes of a file, for as long as the thread that reads them has not computed longer than it may.

    Pillow asks for a little at a time: a header, a marker, 64 KiB of pixels.
    """

    def __init__(self, data: bytes, cpu_s: float) -> None:
        super().__init__(data)
        self.allow(cpu_s)

    def allow(self, cpu_s: float) -> None:
        """Allow `cpu_s` seconds of processor time from now, of the thread that calls."""
        self._until = time.thread_time() + cpu_s

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._until:
            raise BadImage("Reading the image takes longer than an image may take.")
        return super().read(size)


def _require_few_scans(pixels: int, scans: int) -> None:
    if scans > MAX_SCANS or scans * pixels > MAX_SCANNED:
        raise BadImage(
            f"The JPEG goes over its {pixels:,} pixels in {scans:,} scans; {MAX_SCANS} are the limit, "
            f"and {MAX_SCANNED:,} pixels over all scans."
        )


def _orientation(image: Image.Image) -> int:
    # a damaged EXIF block may raise anything, and the picture is as good without it
    with contextlib.suppress(Exception), _QUIET:
        return int(image.getexif().get(ExifTags.Base.Orientation, UPRIGHT))
    return UPRIGHT


def _has_more_pages(image: Image.Image) -> bool:
    """Tell whether a TIFF has more than one page, by its first directory: counting them all would read every one."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and bool(image.tag_v2.next)


def _shrunk(image: Image.Image) -> Image.Image:
    size = _bounded(image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def _bounded(size: tuple[int, ...]) -> tuple[int, int]:
    one, other = size
    scale = min(1.0, SHORT_SIDE / min(size), LONG_SIDE / max(size))
    return max(1, round(one * scale)), max(1, round(other * scale))


def _inside(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """The largest (height, width) of the aspect of `size` that lies within the given one."""
    scale = min(height / size[0], width / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


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
