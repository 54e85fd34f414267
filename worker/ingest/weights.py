"""Tensors by name out of an untrusted file: known by its content, and read without running any of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worker.ingest import class_names, weights_pickle, weights_safetensors, weights_zip
from worker.ingest.watch import DiskWatch
from worker.runtime.contract import Failure

MAX_TENSORS = 50_000
MAX_NAME = 512  # characters
MAX_DEPTH = 4  # of wrappers around the weights

_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"  # what follows the version of the format in an ONNX file
_FOREIGN = {  # by their first bytes, from an offset
    (0, b"\x89HDF"): "an HDF5 file (Keras)",
    (4, b"TFL3"): "a TensorFlow Lite model",
    (0, b"\x1f\x8b"): "a gzip file",
    (257, b"ustar"): "a tar file",
    (0, b"\x93NUMPY"): "a NumPy array",
}


@dataclass(frozen=True)
class Contents:
    """The tensors of a file, on the CPU, those of nested dicts by dotted names (`state_dict.conv1.weight`).

    `classes` are the names of classes beside them, if there are any.
    """

    tensors: dict[str, Tensor]
    classes: list[str] | None = None


def read(path: Path, watch: DiskWatch) -> dict[str, Tensor]:
    """All tensors of the file.

    Raises:
        Failure: see `contents`.
    """
    return contents(path, watch).tensors


def contents(path: Path, watch: DiskWatch) -> Contents:
    """All that is read of a file.

    Raises:
        Failure: `empty_file`, `not_a_checkpoint` or `unsupported_media_type` for what it is; `corrupt_file`,
            `unsafe_pickle`, `bad_tensor`, `not_a_state_dict` or `no_tensors` for what is in it.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise Failure("empty_file", "The file is empty.")
    if head[8:9] == b"{":
        return Contents(_checked(weights_safetensors.read(path)))
    if head.startswith(b"PK"):
        weights_zip.inspect(path, watch)
        return _contents(weights_pickle.read(path, weights_zip.pickle_of(path)))
    if head.startswith(b"\x80"):
        return _contents(weights_pickle.read_legacy(path))
    raise _foreign(head)


def _contents(content: Any) -> Contents:
    return Contents(_checked(_flat(content)), class_names.found(content))


def metadata(path: Path) -> dict[str, object]:
    """The metadata of a safetensors file; none for all other files.

    Raises:
        Failure: `corrupt_file`.
    """
    with path.open("rb") as file:
        return weights_safetensors.metadata(path) if file.read(9)[8:] == b"{" else {}


def _foreign(head: bytes) -> Failure:
    for (offset, magic), kind in _FOREIGN.items():
        if head.startswith(magic, offset):
            return Failure("unsupported_media_type", f"This is {kind}: send safetensors, or what torch.save writes.")
    if len(head) > 2 and head[0] == 8 and 0 < head[1] < 32 and head[2] in _ONNX_FIELDS:
        return Failure("unsupported_media_type", "ONNX files are not taken: send the weights as safetensors.")
    return Failure("not_a_checkpoint", "This is neither safetensors nor what torch.save writes.")


def _flat(content: Any) -> dict[str, Tensor]:
    """Gather the tensors from dicts in dicts; other values, and what goes by names that are no strings, are no
    weights."""
    if not isinstance(content, Mapping):
        kind = "a bare tensor" if isinstance(content, Tensor) else f"a {type(content).__name__}"
        raise Failure("not_a_state_dict", f"The file holds {kind}, not tensors by name: save `model.state_dict()`.")
    tensors: dict[str, Tensor] = {}
    _gather(content, "", MAX_DEPTH, tensors, set())
    if not tensors:
        raise Failure("no_tensors", "The file holds no tensors that go by names: save `model.state_dict()`.")
    return tensors


def _gather(
    content: Mapping[Any, Any], prefix: str, levels: int, tensors: dict[str, Tensor], entered: set[int]
) -> None:
    entered.add(id(content))  # what is there twice is read once, or a small file could be without end
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(key, str) and isinstance(value, Tensor):
            if name in tensors:
                raise Failure("corrupt_file", f"Two tensors go by the name {name!r}.")
            tensors[name] = value
        elif isinstance(key, str) and isinstance(value, Mapping) and levels and id(value) not in entered:
            _gather(value, f"{name}.", levels - 1, tensors, entered)


def _checked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if len(tensors) > MAX_TENSORS:
        raise Failure("corrupt_file", f"{len(tensors):,} tensors are more than {MAX_TENSORS:,}.")
    for name, tensor in tensors.items():
        if len(name) > MAX_NAME or not name.isprintable():  # also lone surrogates and NUL, which no database stores
            raise Failure("bad_tensor", f"{name[:MAX_NAME]!r} is no name for a tensor.")
        fault = _fault(tensor)
        if fault:
            raise Failure("bad_tensor", f"{name} {fault}.")
    return tensors


def _fault(tensor: Tensor) -> str | None:
    """The reason why a tensor is no plain array of numbers that are all there, or None; nothing of it is read for
    that."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"is a {type(tensor).__name__}: save plain tensors"
    if tensor.is_meta:
        return "has no numbers (it is on the meta device)"
    if tensor.is_quantized:
        return "is quantised: dequantise it before saving"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "is sparse or nested: make it dense before saving"
    if tensor.is_complex():
        return "holds complex numbers"
    return "shows the same memory in several places: save a contiguous copy" if _overlaps(tensor) else None


def _overlaps(tensor: Tensor) -> bool:
    """A stride of 0 makes a terabyte of four bytes."""
    reach = 0  # of the dimensions so far, in elements from the first
    for stride, side in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if side > 1:
            if stride <= reach:
                return tensor.numel() > 0
            reach += (side - 1) * stride
    return False
