"""Safetensors, its header checked by ourselves: the library accepts a name twice, and a file without tensors."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from worker.runtime.contract import Failure

MAX_HEADER = 100 * 2**20
MAX_DIMENSIONS = 16
LENGTH = 8  # bytes at the beginning, which tell the header's length
METADATA = "__metadata__"
BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}


def metadata(path: Path) -> dict[str, object]:
    """The metadata of a safetensors file; what is not text is for `read` to refuse.

    Raises:
        Failure: `corrupt_file`.
    """
    entries = _header(path)[0].get(METADATA)
    return entries if isinstance(entries, dict) else {}


def read(path: Path) -> dict[str, Tensor]:
    """
    Raises:
        Failure: `corrupt_file`, or `no_tensors`.
    """
    size = path.stat().st_size
    header, length = _header(path)
    header.pop(METADATA, None)
    if not header:
        raise Failure("no_tensors", "The file holds no tensors.")
    _check(header, size - LENGTH - length)
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, AttributeError, KeyError, ValueError, RuntimeError) as error:
        raise _corrupt(repr(error)) from error


def _header(path: Path) -> tuple[dict[str, object], int]:
    """The header, and its length in bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        [length] = struct.unpack("<Q", file.read(LENGTH))
        if length > min(MAX_HEADER, size - LENGTH):
            raise _corrupt(f"its header of {length:,} bytes is longer than the file, or than any header may be")
        return _parsed(file.read(length)), length


def _parsed(text: bytes) -> dict[str, object]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _corrupt(f"its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise _corrupt("its header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _check(header: dict[str, object], room: int) -> None:
    """The tensors lie one behind the other, each as long as its shape says, and nothing else is there."""
    spans = sorted(_span(name, entry) for name, entry in header.items())
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise _corrupt(f"{name!r} begins at byte {start:,}, but what is before it ends at {end:,}")
        end = stop
    if end != room:
        raise _corrupt(f"its tensors have {end:,} bytes, but {room:,} are there")


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]} if len(entry) == 3:
            sensible = len(shape) <= MAX_DIMENSIONS and all(type(side) is int and side >= 0 for side in shape)
            if sensible and dtype in BYTES and start >= 0 and stop - start == math.prod(shape) * BYTES[dtype]:
                return start, stop, name
    raise _corrupt(f"what it says of {name!r} makes no sense")


def _corrupt(reason: str) -> Failure:
    return Failure("corrupt_file", f"The safetensors file is damaged: {reason}.")
