"""From an image file to a network's input: what is read, what is refused, and that resizing is Pillow's."""

import io
import itertools
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile, ImageOps

from app.contract.inputs import InputSpec
from app.imaging import images
from app.imaging.images import BadImage
from tests import hostile_images
from tests.archives import encoded

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


def spec(size: tuple[int, int], channels: int = 3, fit: str = "stretch", margin: int = 0) -> InputSpec:
    return InputSpec(
        size=size, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels, fit=fit, margin=margin
    )


def saved(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *more: bytes, depth: int = 8, kind: int = 0, rows: bytes | None = None) -> bytes:
    """By hand: `more` are chunks before the pixels, `rows` the pixels with their filter bytes (else black)."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    rows = bytes((1 + width) * height) if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_formats_come_back_as_they_were(format: str, pixels: np.ndarray) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    decoded = images.decode(encoded(pixels, format, **options))
    grey = pixels.ndim == 2 and format in ("PNG", "BMP", "TIFF")  # the others know colours only
    assert decoded.dtype == np.uint8
    assert decoded.shape == (6, 8, 1 if grey else 3)
    assert np.array_equal(decoded, np.broadcast_to(pixels if pixels.ndim == 3 else pixels[:, :, None], decoded.shape))


@pytest.mark.parametrize(("pixels", "channels"), [(GREY, 1), (COLOUR, 3)], ids=["grey", "colour"])
def test_jpeg_is_as_pillow_reads_it(pixels: np.ndarray, channels: int) -> None:
    data = encoded(pixels, "JPEG", quality=90)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(images.decode(data), expected.reshape(6, 8, channels))


def test_one_pixel_is_an_image() -> None:
    assert images.decode(encoded(np.full((1, 1), 7, np.uint8))).tolist() == [[[7]]]


def test_palette_is_colour() -> None:
    picture = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(images.decode(saved(picture)), np.asarray(picture.convert("RGB")))


def test_one_bit_is_grey() -> None:
    bits = GREY > 100
    assert np.array_equal(images.decode(saved(Image.fromarray(bits)))[:, :, 0], bits * np.uint8(255))


def test_of_sixteen_bits_the_upper_eight_are_kept() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    decoded = images.decode(saved(Image.fromarray(values)))
    assert decoded[:, :, 0].tolist() == [[0, 0, 1, 128, 255]]


def test_sixteen_bits_of_colour() -> None:
    rows = b"\0" + struct.pack(">6H", 65535, 256, 255, 0, 32768, 511)
    assert images.decode(png(2, 1, depth=16, kind=2, rows=rows)).tolist() == [[[255, 1, 0], [0, 128, 1]]]


def transparent(mode: str, colour: np.ndarray, alpha: np.ndarray) -> bytes:
    """`colour` grey [H,W], `alpha` [H,W], as a PNG with an alpha channel, or with a palette and its tRNS."""
    if mode == "P":
        picture = Image.fromarray((alpha > 0).astype(np.uint8)).convert("P")
        picture.putpalette([int(colour[0, 0])] * 6)
        return saved(picture, transparency=bytes([0, 255]))
    bands = [Image.fromarray(colour)] * (1 if mode == "LA" else 3)
    return saved(Image.merge(mode, [*bands, Image.fromarray(alpha)]))


SHAPE = np.zeros((6, 8), np.uint8)
SHAPE[2:4, 2:6] = 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("value", "ground"), [(0, 255), (90, 255), (255, 0)], ids=["black", "mid", "white"])
def test_where_only_alpha_has_the_shape_the_shape_is_seen(mode: str, value: int, ground: int) -> None:
    decoded = images.decode(transparent(mode, np.full((6, 8), value, np.uint8), SHAPE))
    assert (decoded == np.where(SHAPE, value, ground)[:, :, None]).all()
    assert decoded.shape[2] == (1 if mode == "LA" else 3)


def test_what_lies_under_transparent_pixels_is_hidden() -> None:
    decoded = images.decode(saved(Image.fromarray(np.dstack([COLOUR, SHAPE]))))
    assert np.array_equal(decoded, np.where(SHAPE[:, :, None], COLOUR, 255))


def test_half_transparency_is_composed_over_white() -> None:
    decoded = images.decode(saved(Image.fromarray(np.dstack([COLOUR, np.full((6, 8), 128, np.uint8)]))))
    assert np.abs(decoded - (COLOUR * (128 / 255) + 127)).max() <= 1


@pytest.mark.parametrize("alpha", [0, 255], ids=["no pixel is visible", "all are"])
def test_transparency_that_says_nothing_is_left_out(alpha: int) -> None:
    full = np.full((6, 8), alpha, np.uint8)
    assert np.array_equal(images.decode(saved(Image.fromarray(np.dstack([COLOUR, full])))), COLOUR)
    grey = saved(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(full)]))
    assert np.array_equal(images.decode(grey)[:, :, 0], GREY)


def test_one_colour_may_be_transparent() -> None:
    assert images.decode(saved(Image.fromarray(GREY), transparency=0))[0, 0, 0] == 255
    colour = images.decode(saved(Image.fromarray(COLOUR), transparency=tuple(COLOUR[0, 0].tolist())))
    assert colour[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(colour[1:], COLOUR[1:])


def test_transparency_of_a_palette() -> None:
    picture = Image.fromarray(COLOUR).quantize(16)
    decoded = images.decode(saved(picture, transparency=bytes([0, *[255] * 15])))
    at_zero = np.asarray(picture) == 0
    assert (decoded[at_zero] == 255).all()
    assert np.array_equal(decoded[~at_zero], np.asarray(picture.convert("RGB"))[~at_zero])


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_tiff(pixels: np.ndarray, compression: str | None) -> None:
    data = encoded(pixels, "TIFF", compression=compression)
    expected = np.asarray(Image.open(io.BytesIO(data))).reshape(6, 8, -1)
    assert np.array_equal(images.decode(data), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 100, 255]], np.uint16), [0, 100, 255]),
        (np.array([[0, 2048, 4095]], np.uint16), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.uint16), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[-1, 0, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100.4, 255]], np.float32), [0, 100, 255]),
        (np.array([[300, 401, 500]], np.float32), [0, 129, 255]),
        (np.array([[0, np.nan, 1]], np.float32), [0, 0, 255]),
        (np.full((1, 3), np.nan, np.float32), [0, 0, 0]),
        (np.full((1, 3), 7000, np.float32), [0, 0, 0]),
    ],
    ids=lambda value: str(value.tolist()[0]) if isinstance(value, np.ndarray) else None,
)
def test_depths_of_tiff(values: np.ndarray, expected: list[int]) -> None:
    assert images.decode(saved(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == expected


def test_what_is_changed_is_told() -> None:
    wide = saved(Image.fromarray(np.array([[0, 4000]], np.uint16)), "TIFF")
    first = Image.fromarray(COLOUR)
    paged = saved(first, "TIFF", save_all=True, append_images=[Image.fromarray(GREY)])
    told = [images.changed(images.opened(data))[1] for data in (encoded(COLOUR), wide, paged)]
    assert told == [set(), {"depth"}, {"pages"}]
    assert np.array_equal(images.decode(paged), COLOUR)
    shaped = saved(Image.fromarray(np.dstack([COLOUR, SHAPE])))
    assert images.changed(images.opened(shaped))[1] == {"transparency"}


def test_cmyk_is_converted() -> None:
    picture = Image.fromarray(COLOUR).convert("CMYK")
    data = saved(picture, "JPEG", quality=95)
    assert np.array_equal(images.decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(format: str) -> None:
    frames = [Image.fromarray(np.full((6, 8, 3), value, np.uint8)) for value in (10, 200)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames") == 2  # noqa: B009  (not of every kind of image)
    assert (images.decode(data) == 10).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_images_are_turned_upright(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(Image.fromarray(COLOUR), format, exif=exif, **options)
    assert np.array_equal(images.decode(data), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize("exif", [b"", b"rubbish", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03"])
def test_a_damaged_exif_block_does_no_harm(exif: bytes) -> None:
    data = saved(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0" + exif)
    assert np.array_equal(
        images.decode(data), np.asarray(Image.open(io.BytesIO(saved(Image.fromarray(COLOUR), "JPEG"))))
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, I am a text and not a picture",
        b"\xff\xd8\xff\xe0" + b"text after a JPEG's first bytes" * 10,
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"8BPS\0\1" + bytes(64),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        saved(Image.fromarray(COLOUR), "PPM"),
        saved(Image.fromarray(COLOUR), "ICO"),
        bytes(1000),
    ],
    ids=["empty", "text", "JPEG of text", "SVG", "EPS", "PSD", "HEIC", "PPM", "ICO", "zeros"],
)
def test_what_is_no_image_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BadImage) as refused:
        images.decode(data)
    assert str(refused.value).endswith(".")
    assert "0x" not in str(refused.value)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_what_is_cut_short_is_refused(format: str, part: float) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), format)
    with pytest.raises(BadImage):
        images.decode(data[: int(len(data) * part)])


@pytest.mark.parametrize(("width", "height"), [(15_000, 15_000), (12_000, 9_000), (8_000, 8_000), (2**31 - 1, 1)])
def test_more_pixels_than_we_read_are_refused(width: int, height: int) -> None:
    """225 megapixels, 108, and 64 in a few kilobytes: by their header, before a pixel is decoded."""
    with pytest.raises(BadImage):
        images.decode(png(width, height, rows=bytes(1000)))


def test_a_true_bomb_is_refused() -> None:
    bomb = png(8000, 8000)
    assert len(bomb) < 187 * 1024
    with pytest.raises(BadImage, match="8000×8000"):
        images.decode(bomb)


def test_a_telephone_takes_larger_pictures_than_most() -> None:
    assert 8160 * 6120 <= images.MAX_PIXELS < 8000 * 8000


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_bombs_are_refused(kind: bytes) -> None:
    packed = zlib.compress(bytes(200_000_000), 9)
    content = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + packed
    with pytest.raises(BadImage):
        images.decode(png(2, 2, chunk(kind, content)))


def test_warnings_are_neither_leaked_nor_changed_by_threads() -> None:
    damaged = saved(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03")
    bomb = png(12_000, 9_000, rows=b"")
    sound = encoded(COLOUR)

    def attempt(number: int) -> bool:
        try:
            return images.decode((damaged, bomb, sound)[number % 3]).shape == COLOUR.shape
        except BadImage:
            return number % 3 == 1

    with warnings.catch_warnings(record=True) as leaked, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        assert all(pool.map(attempt, range(600)))
        assert warnings.filters == filters
    assert leaked == []


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]), st.integers(0, 400))
def test_flipped_bytes_end_in_pixels_or_in_a_refusal(noise: bytes, format: str, start: int) -> None:
    data = bytearray(encoded(COLOUR, format))
    start %= len(data)
    data[start : start + len(noise)] = noise[: len(data) - start]
    try:
        decoded = images.decode(bytes(data))
    except BadImage:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] in (1, 3)


@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [
        (1024, 768, (683, 512)),
        (768, 1024, (512, 683)),
        (600, 600, (512, 512)),
        (1000, 5000, (410, 2048)),
        (2, 5000, (1, 2048)),
    ],
)
def test_large_images_are_bounded_by_their_shorter_side(height: int, width: int, sides: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    bounded = images.bound(image)
    assert bounded.shape[:2] == sides
    assert bounded.shape[0] / bounded.shape[1] == pytest.approx(height / width, rel=0.05) or min(bounded.shape[:2]) == 1
    size = bounded.shape[1], bounded.shape[0]
    assert np.array_equal(bounded, np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)))
    assert images.bound(bounded) is bounded


@pytest.mark.parametrize("size", [(512, 2048), (2, 1500), (28, 28)])
def test_others_are_stored_as_they_are(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 1), np.uint8)
    assert images.bound(image) is image


SIDES = st.integers(1, 40)
PIXELS = st.builds(
    lambda height, width, channels, seed: np.random.default_rng(seed).integers(
        0, 256, (height, width, channels), np.uint8
    ),
    SIDES,
    SIDES,
    st.sampled_from([1, 3]),
    st.integers(0, 99),
)


def reference(image: np.ndarray, wanted: InputSpec) -> np.ndarray:
    """The adapter as docs/adr/0004 has it, by Pillow alone, on a canvas of Pillow's."""
    mode = "L" if wanted.channels == 1 else "RGB"
    picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).convert(mode)
    height, width = wanted.size[0] - 2 * wanted.margin, wanted.size[1] - 2 * wanted.margin
    if wanted.fit == "pad":
        scale = min(height / picture.height, width / picture.width)
        height, width = max(1, round(picture.height * scale)), max(1, round(picture.width * scale))
    canvas = Image.new(mode, (wanted.size[1], wanted.size[0]))
    corner = (wanted.size[1] - width) // 2, (wanted.size[0] - height) // 2
    canvas.paste(picture.resize((width, height), Image.Resampling.BILINEAR), corner)
    return np.asarray(canvas).reshape(*wanted.size, wanted.channels)


@settings(deadline=None)
@given(PIXELS, SIDES, SIDES, st.sampled_from([1, 3]), st.sampled_from(["stretch", "pad"]), st.integers(0, 4))
def test_fit_is_pillows(image: np.ndarray, height: int, width: int, channels: int, fit: str, margin: int) -> None:
    margin = min(margin, (min(height, width) - 1) // 2)
    wanted = spec((height, width), channels, fit, margin)
    fitted = images.fit(image, wanted)
    assert fitted.dtype == np.uint8
    assert np.array_equal(fitted, reference(image, wanted))


def test_what_fits_is_not_touched() -> None:
    assert images.fit(COLOUR, spec((6, 8))) is COLOUR


def test_padding_keeps_the_aspect() -> None:
    fitted = images.fit(np.full((10, 20, 1), 255, np.uint8), spec((20, 20), 1, "pad"))
    assert (fitted[5:15] == 255).all()
    assert not fitted[:5].any()
    assert not fitted[15:].any()


def test_the_margin_stays_empty() -> None:
    fitted = images.fit(np.full((8, 8, 3), 255, np.uint8), spec((32, 28), 3, "stretch", 4))
    assert (fitted[4:28, 4:24] == 255).all()
    assert fitted.sum() == 255 * 24 * 20 * 3


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = hostile_images.many_scans(2000, 400)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(BadImage, match=r"in 40\d scans"):
        images.decode(data)


def test_scans_count_by_their_pixels() -> None:
    with pytest.raises(BadImage, match="scans"):
        images.decode(hostile_images.many_scans(4000, 60))
    assert images.decode(hostile_images.many_scans(64, 60)).shape == (64, 64, 1)


def test_an_ordinary_progressive_jpeg_of_the_largest_size_has_few_enough() -> None:
    assert encoded(COLOUR, "JPEG", progressive=True).count(b"\xff\xda") * images.MAX_PIXELS <= images.MAX_SCANNED


@pytest.mark.parametrize(
    "data",
    [
        hostile_images.many_markers(3_000),
        hostile_images.many_chunks(3_000),
        hostile_images.many_comments(3_000),
        hostile_images.many_runs(100),
    ],
    ids=["JPEG", "PNG", "GIF", "BMP"],
)
def test_reading_ends_when_it_has_taken_too_long(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is that of the thread that computes: here each look at it is a second later."""
    seconds = itertools.count()
    monkeypatch.setattr("app.imaging.images.time.thread_time", lambda: float(next(seconds)) / 1000)
    with pytest.raises(BadImage, match="takes longer"):
        images.decode(data)


def test_no_thread_waits_for_the_image_of_another() -> None:
    """Nor for its warnings: one that is being opened holds nothing that another needs."""
    within, done = threading.Event(), threading.Event()

    class Slow(images._Timed):
        def read(self, size: int | None = -1, /) -> bytes:
            within.set()
            assert done.wait(60)
            return super().read(size)

    def slowly() -> tuple[int, int]:
        with images._QUIET:
            return Image.open(Slow(encoded(COLOUR), 60)).size

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(slowly)
        assert within.wait(60)
        try:
            assert pool.submit(images.decode, encoded(COLOUR)).result(timeout=60).shape == COLOUR.shape
        finally:
            done.set()
        assert slow.result(timeout=60) == (8, 6)


@pytest.mark.parametrize("size", [(600, 900), (2100, 40), (513, 512), (512, 512)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_shrinking_while_decoding_gives_the_same_pixels(format: str, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    data = encoded(pixels, format)
    assert np.array_equal(images.decode(data, bounded=True), images.bound(images.decode(data)))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("turn", [1, 6])
def test_a_large_jpeg_is_decoded_at_half_its_size_and_looks_the_same(mode: str, turn: int) -> None:
    ramps = np.linspace(0, 1, 2400)[:, None, None] * np.linspace(40, 255, 3000)[None, :, None] * [1, 0.6, 0.3]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    data = saved(Image.fromarray(ramps.astype(np.uint8)).convert(mode), "JPEG", exif=exif)
    image = images.opened(data)
    bounded, whole = images.decoded(image, bounded=True), images.bound(images.decode(data))
    assert image.size == (1500, 1200)
    assert bounded.shape == whole.shape
    assert np.abs(bounded.astype(int) - whole).max() <= 4


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "1", "I;16"])
def test_so_it_does_in_any_mode(mode: str) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 600), np.uint8)).convert(mode)
    if "A" in mode:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    data = saved(picture)
    assert np.array_equal(images.decode(data, bounded=True), images.bound(images.decode(data)))
