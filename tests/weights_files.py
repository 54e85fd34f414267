"""Files of weights as users have them, and as attackers make them."""

import io
import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import safetensors.torch
import torch
from onnx import helper
from torch import Tensor, nn

State = dict[str, Tensor]

NETWORK: dict[str, Any] = {
    "name": "layers",
    "num_classes": 3,
    "options": {
        "layers": [
            {
                "name": "features",
                "layers": [
                    {"type": "Conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1},
                    {"type": "BatchNorm2d"},
                    {"type": "ReLU"},
                    {"type": "MaxPool2d", "kernel_size": 2},
                ],
            },
            {"name": "flatten", "type": "Flatten"},
            {"name": "classifier", "layers": [{"type": "Linear", "out_features": 3}]},
        ]
    },
}
INPUT: dict[str, Any] = {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.25]}
NAMES = [
    "features.0.weight",
    "features.0.bias",
    "features.1.weight",
    "features.1.bias",
    "features.1.running_mean",
    "features.1.running_var",
    "features.1.num_batches_tracked",
    "classifier.0.weight",
    "classifier.0.bias",
]


def module(seed: int = 0) -> nn.Module:
    """NETWORK as a plain PyTorch script would have it, with a little training behind it."""
    torch.manual_seed(seed)
    features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    classifier = nn.Sequential(nn.Linear(4 * 4 * 4, 3))
    network = nn.Sequential(
        OrderedDict([("features", features), ("flatten", nn.Flatten()), ("classifier", classifier)])
    )
    network(torch.randn(16, 1, 8, 8))  # moves the statistics of the batch norm
    return network.eval()


def state(seed: int = 0) -> State:
    return dict(module(seed).state_dict())


def prefixed(weights: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in weights.items()}


def saved(content: Any, *, legacy: bool = False) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def safe(weights: State, metadata: dict[str, str] | None = None) -> bytes:
    """As the safetensors library writes it."""
    return safetensors.torch.save(weights, metadata)


def raw_safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A header of any kind, said to be of any length, and whatever follows it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


# Files of torch.save, changed afterwards


def rezipped(
    data: bytes,
    *,
    compression: int = zipfile.ZIP_STORED,
    rename: Callable[[str], str] = lambda name: name,
    replace: dict[str, bytes] | None = None,
    more: dict[str, bytes] | None = None,
) -> bytes:
    """The same archive with members compressed, renamed, replaced (by the end of their names) or added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            replacing = [content for end, content in (replace or {}).items() if name.endswith(end)]
            new.writestr(rename(name), replacing[0] if replacing else old.read(name))
        for name, content in (more or {}).items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that is there already
                new.writestr(name, content)
    return buffer.getvalue()


def with_pickle(code: bytes) -> bytes:
    """A file of torch.save whose description of the content is `code`."""
    return rezipped(saved(state()), replace={"/data.pkl": code})


def on_cuda(data: bytes) -> bytes:
    """The same file as if the tensors had been saved on the first GPU."""

    def tagged(code: bytes) -> bytes:
        assert b"X\x03\x00\x00\x00cpu" in code
        return code.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")

    if not data.startswith(b"PK"):
        return tagged(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        return rezipped(data, replace={"/data.pkl": tagged(archive.read(name))})


def flipped(data: bytes, tensor: Tensor) -> bytes:
    """One bit of one weight is another."""
    at = data.index(tensor.numpy().tobytes())
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def bomb(megabytes: int = 64) -> bytes:
    """Zeros, deflated a thousandfold."""
    return rezipped(saved({"w": torch.zeros(megabytes * 2**18)}), compression=zipfile.ZIP_DEFLATED)


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def bare_pickle(content: Any) -> bytes:
    return pickle.dumps(content, protocol=2)


# Pickles by hand


def deep_list(levels: int) -> bytes:
    return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


def deep_dict(levels: int) -> bytes:
    return b"\x80\x02" + b"}U\x01k" * levels + b"N" + b"s" * levels + b"."


def deep_tuple_as_key(levels: int) -> bytes:
    return b"\x80\x02})" + b"\x85" * levels + b"Ns."


def doubling_tuple_as_key(times: int) -> bytes:
    """A tuple of a tuple twice, of a tuple twice, …: short to say, and longer than the universe to hash."""
    twice = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(times))
    return b"\x80\x02})" + twice + b"Ns."


def doubling_dict(times: int) -> bytes:
    """Each dict holds the one before it under many names."""
    names = [f"n{i}".encode() for i in range(50)]
    code = b"\x80\x02}q\x00"
    for level in range(1, times):
        items = b"".join(b"U" + bytes([len(name)]) + name + b"h" + bytes([level - 1]) for name in names)
        code += b"}(" + items + b"uq" + bytes([level])
    return code + b"."


# Files of other kinds


def torchscript() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def exported_program() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), buffer)
    return buffer.getvalue()


def onnx_model() -> bytes:
    node = helper.make_node("Relu", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    return bytes(model.SerializeToString())


def quantised() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def compressed() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.eye(3).to_sparse_csr()
