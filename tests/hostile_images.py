"""Image files that are cheap to send and dear to read."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def many_scans(side: int, count: int) -> bytes:
    """A progressive JPEG of one grey, one of whose scans comes `count` times."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), 128, np.uint8)).save(buffer, "JPEG", progressive=True, quality=50)
    data = buffer.getvalue()
    starts = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    start, end = starts[1], data.index(b"\xff", starts[1] + 2)
    while data[end + 1] == 0:  # a stuffed byte, within the scan
        end = data.index(b"\xff", end + 2)
    return data[:start] + data[start:end] * count + data[end:]


def many_markers(count: int) -> bytes:
    """A JPEG of 8×8 pixels with so many empty comments."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    data = buffer.getvalue()
    return data[:2] + b"\xff\xfe\0\2" * count + data[2:]


def many_chunks(count: int) -> bytes:
    """A PNG of 8×8 pixels with so many empty chunks."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()
    chunk = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    return data[:33] + chunk * count + data[33:]


def many_comments(count: int) -> bytes:
    """A GIF of 8×8 pixels with so many comments of one letter."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "GIF")
    data = buffer.getvalue()
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1) * (data[10] >> 7)  # behind the palette
    return data[:start] + b"\x21\xfe\1a\0" * count + data[start:]


def many_runs(side: int) -> bytes:
    """A BMP whose pixels are run lengths of one each, which Pillow reads in Python."""
    body = b"\1\7" * (side * side) + b"\0\1"
    start = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + bytes(1024) + body


def flat(side: int) -> bytes:
    """A PNG of one colour: a few bytes for every thousand pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 60)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
