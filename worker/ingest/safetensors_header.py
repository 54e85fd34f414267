"""The header of a safetensors file, checked beyond what the library does: no name twice, no hole, no overlap, no rest.

Format: 8 bytes of little-endian header length, the header as JSON, the tensors' bytes.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

from worker.engine.contract import Failure
from worker.export.safetensors import DTYPES

MAX_HEADER = 100_000_000  # the library's own limit
ITEM_BYTES = {code: dtype.itemsize for dtype, code in DTYPES.items()}


def check(path: Path) -> None:
    """
    Raises:
        Failure: `corrupt_file`, or `no_tensors`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(MAX_HEADER, size - 8):
            raise _corrupt("its header is said to be longer than the file")
        header = _parse(file.read(length))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if not tensors:
        raise Failure("no_tensors", "The file holds no tensors.")
    spans = sorted(_span(name, entry) for name, entry in tensors.items())
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise _corrupt(f"there is a hole or an overlap before {name!r}")
        end = stop
    if end != size - 8 - length:
        raise _corrupt(f"its tensors come to {end:,} bytes, but {size - 8 - length:,} follow the header")


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _corrupt(f"its header cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise _corrupt("its header is no object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """Where the tensor's bytes begin and end."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)], **rest} if not rest:
            pass
        case _:
            raise _corrupt(f"the entry of {name!r} is not {{dtype, shape, data_offsets}}")
    if dtype not in ITEM_BYTES:
        raise Failure("bad_tensor", f"{name} holds {dtype}: save dense tensors of ordinary numbers.")
    if not all(type(side) is int and 0 <= side < 2**63 for side in shape):
        raise _corrupt(f"the shape of {name!r} is no list of sizes")
    if not 0 <= start <= stop or math.prod(shape) * ITEM_BYTES[dtype] != stop - start:
        raise _corrupt(f"shape and bytes of {name!r} do not agree")
    return start, stop, name


def _corrupt(why: str) -> Failure:
    return Failure("corrupt_file", f"The file is no valid safetensors: {why}.")
