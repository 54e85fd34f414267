"""An image as a caller holds it, made into what goes over the wire."""

import io
from pathlib import Path
from typing import Any

Image = Path | str | bytes | Any
"""A path, the bytes of an image file, a Pillow image, or a uint8 array [H,W] or [H,W,3]."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


def encoded(image: Image) -> bytes:
    """The bytes of an image file.  Pillow images and arrays become PNG, which loses nothing; that needs Pillow."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        return Path(image).read_bytes()
    buffer = io.BytesIO()
    _pillow(image).save(buffer, format="PNG")
    return buffer.getvalue()


def media_type(data: bytes) -> str:
    """The media type of an image by its first bytes; the service decides by content, whatever is claimed."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), "application/octet-stream")


def _pillow(image: Any) -> Any:
    import PIL.Image

    if isinstance(image, PIL.Image.Image):
        return image
    if getattr(image, "dtype", None) != "uint8":
        raise TypeError(f"an image is a path, bytes, a Pillow image or a uint8 array, not {type(image).__name__}")
    return PIL.Image.fromarray(image)
