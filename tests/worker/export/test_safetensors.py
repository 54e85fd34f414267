"""The canonical file: the same bytes for the same tensors, and readable by everyone."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from worker.export import safetensors
from worker.runtime import digest

TENSORS = {
    "b.weight": torch.randn(3, 5),
    "a.bias": torch.randn(3).to(torch.bfloat16),
    "a.count": torch.tensor(7),
    "odd": torch.arange(3, dtype=torch.uint8),
    "flags": torch.tensor([True, False]),
    "half": torch.randn(2, 1).half(),
    "double": torch.randn(2).double(),
    "empty": torch.zeros(0, 4),
    "ünïcode": torch.ones(1),
}
METADATA = {"format": "pt", "classes": '["ä", "b"]'}


def header(data: bytes) -> tuple[int, dict[str, dict[str, object]]]:
    [length] = struct.unpack("<Q", data[:8])
    return length, json.loads(data[8 : 8 + length])


def written(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] = METADATA) -> bytes:
    safetensors.write(path, tensors, metadata)
    return path.read_bytes()


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    written(tmp_path / "w", TENSORS)
    found = load_file(tmp_path / "w")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) and found[name].dtype == TENSORS[name].dtype for name in found)
    assert digest.sha256(found) == digest.sha256(TENSORS)
    with safe_open(tmp_path / "w", "pt") as file:
        assert file.metadata() == METADATA


def test_order_and_layout_do_not_change_a_byte(tmp_path: Path) -> None:
    first = written(tmp_path / "1", TENSORS)
    other = dict(reversed(TENSORS.items())) | {"b.weight": TENSORS["b.weight"].T.contiguous().T}
    assert not other["b.weight"].is_contiguous()
    assert written(tmp_path / "2", other, dict(reversed(METADATA.items()))) == first
    image = torch.randn(2, 3, 4, 4)
    last = written(tmp_path / "3", {"w": image.to(memory_format=torch.channels_last)})
    assert last == written(tmp_path / "4", {"w": image})


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    length, entries = header(written(tmp_path / "w", TENSORS))
    assert length % 8 == 0
    del entries["__metadata__"]
    for name, entry in entries.items():
        [start, _] = entry["data_offsets"]
        assert (8 + length + start) % TENSORS[name].element_size() == 0, name


def test_one_tensor_under_two_names_is_there_twice(tmp_path: Path) -> None:
    tied = torch.randn(4)
    written(tmp_path / "w", {"a": tied, "b": tied})
    found = load_file(tmp_path / "w")
    assert torch.equal(found["a"], tied)
    assert torch.equal(found["b"], tied)


def test_parameters_are_written_without_their_gradients(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(2))
    written(tmp_path / "w", {"w": weight})
    assert torch.equal(load_file(tmp_path / "w")["w"], weight.detach())


@pytest.mark.parametrize("metadata", [{}, {"ä": '\n"\\'}])
def test_metadata_of_any_text(tmp_path: Path, metadata: dict[str, str]) -> None:
    written(tmp_path / "w", {"w": torch.ones(1)}, metadata)
    with safe_open(tmp_path / "w", "pt") as file:
        assert (file.metadata() or {}) == metadata
