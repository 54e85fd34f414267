"""Every file that is no checkpoint, or a hostile one: refused with a code and a reason, and none of it run."""

import os
import pickle
import resource
import zipfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests import weights_files as files
from tests.weights_files import entry, raw_safetensors, saved, state, with_pickle
from tests.worker.ingest.checkpointed import refusal, run

FLOATS = np.ones(4, np.float32).tobytes()

NO_WEIGHTS = {
    "empty": (b"", "empty_file"),
    "text": (b"These are my weights, honestly.\n" * 20, "not_a_checkpoint"),
    "short text": (b"hello", "not_a_checkpoint"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "not_a_checkpoint"),
    "random bytes": (np.random.default_rng(0).bytes(4096), "not_a_checkpoint"),
    "zip": (files.rezipped(saved({}), rename=lambda name: name.replace("data.pkl", "pixels")), "not_a_checkpoint"),
    "no folder": (files.rezipped(saved(state()), rename=lambda name: name.partition("/")[2]), "not_a_checkpoint"),
    "torchscript": (files.torchscript(), "unsupported_media_type"),
    "pt2": (files.exported_program(), "unsupported_media_type"),
    "onnx": (files.onnx_model(), "unsupported_media_type"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "unsupported_media_type"),
    "gzip": (b"\x1f\x8b" + bytes(100), "unsupported_media_type"),
    "tar": (bytes(257) + b"ustar" + bytes(300), "unsupported_media_type"),
    "list": (saved([torch.ones(2)]), "not_a_state_dict"),
    "tensor": (saved(torch.ones(2)), "not_a_state_dict"),
    "nothing": (saved({}), "no_tensors"),
    "numbers": (saved({"epoch": 3, "loss": [0.1, 0.2]}), "no_tensors"),
    "keys that are numbers": (saved({1: torch.ones(2), 2: torch.ones(2)}), "no_tensors"),
    "keys that are tuples": (saved({("a", 1): torch.ones(2)}), "no_tensors"),
}

NO_PLAIN_TENSORS = {
    "stride 0": torch.zeros(1).expand(10**12),
    "overlapping": torch.zeros(10).as_strided((5, 5), (1, 1)),
    "meta": torch.zeros(3, device="meta"),
    "sparse": torch.eye(3).to_sparse(),
    "compressed sparse": files.compressed(),
    "quantised": files.quantised(),
    "complex": torch.zeros(3, dtype=torch.complex64),
}


def damaged() -> dict[str, bytes]:
    good, legacy, weight = saved(state()), saved(state(), legacy=True), state()["classifier.0.weight"]
    half = len(good) // 2
    return {
        "truncated": good[:half],
        "truncated by little": good[:-10],
        "its end alone": b"PK" + good[half:],
        "flipped bit": files.flipped(good, weight),
        "deflated": files.rezipped(good, compression=zipfile.ZIP_DEFLATED),
        "bomb": files.bomb(),
        "extra member": files.rezipped(good, more={"archive/evil.py": b"import os"}),
        "nested data": files.rezipped(good, more={"archive/data/../../x": b""}),
        "duplicate member": files.rezipped(good, more={"archive/data/0": bytes(144)}),
        "duplicate but for case": files.rezipped(good, more={"archive/DATA.pkl": b""}),
        "two roots": files.rezipped(good, more={"elsewhere/data/9": b""}),
        "large pickle": with_pickle(b"\x80\x02" + b"N0" * 2**24 + b"}."),
        "no pickle": with_pickle(b"not a pickle at all"),
        "pickle without end": with_pickle(b"\x80\x02}"),
        "nothing to pop": with_pickle(b"\x80\x02\x86."),
        "unknown place": with_pickle(b"\x80\x02h\x05."),
        "missing storage": files.rezipped(good, rename=lambda name: name.replace("/data/0", "/data/77")),
        "short storage": files.rezipped(good, replace={"/data/0": b"1234"}),
        "deep tuple": with_pickle(files.deep_tuple_as_key(10**6)),
        "doubling tuple": with_pickle(files.doubling_tuple_as_key(60)),
        "truncated legacy": legacy[: len(legacy) // 2],
        "truncated legacy by little": legacy[:-10],
        "legacy magic alone": legacy[:14],
    }


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_holds_no_weights_is_told_so(tmp_path: Path, kind: str) -> None:
    data, code = NO_WEIGHTS[kind]
    assert refusal(tmp_path, data).code == code


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", NO_PLAIN_TENSORS)
def test_a_tensor_that_is_no_plain_array_is_named(tmp_path: Path, kind: str, legacy: bool) -> None:
    failure = refusal(tmp_path, saved(state() | {"odd": NO_PLAIN_TENSORS[kind]}, legacy=legacy))
    assert failure.code == "bad_tensor"
    assert "odd" in failure.message


@pytest.mark.parametrize("name", ["\0", "a\nb", "x" * 600, "\ud800"], ids=["nul", "newline", "long", "surrogate"])
def test_a_name_that_cannot_be_stored_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, saved(state() | {name: torch.ones(2)})).code in ("bad_tensor", "corrupt_file")


@pytest.mark.parametrize("kind", damaged())
def test_a_damaged_or_crafted_file_is_refused(tmp_path: Path, kind: str) -> None:
    assert refusal(tmp_path, damaged()[kind]).code == "corrupt_file"


@pytest.mark.parametrize("code", [files.deep_list, files.deep_dict], ids=["lists", "dicts"])
def test_depth_alone_harms_nobody(tmp_path: Path, code) -> None:
    assert refusal(tmp_path, with_pickle(code(10**5))).code in ("not_a_state_dict", "no_tensors")


def test_dicts_within_dicts_are_read_once(tmp_path: Path) -> None:
    assert refusal(tmp_path, with_pickle(files.doubling_dict(30))).code == "no_tensors"


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_no_code_of_the_file_runs(tmp_path: Path, form: str) -> None:
    content = {"weights": state(), "evil": files.Payload(tmp_path / "ran")}
    data = files.bare_pickle(content["evil"]) if form == "bare" else saved(content, legacy=form == "legacy")
    failure = refusal(tmp_path / "ingest", data)
    assert failure.code == "unsafe_pickle"
    assert not (tmp_path / "ran").exists()
    pickle.loads(files.bare_pickle(content["evil"]))  # the file would have run something
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_whole_module_is_refused_with_advice(tmp_path: Path, legacy: bool) -> None:
    failure = refusal(tmp_path, saved(nn.Linear(2, 2), legacy=legacy))
    assert failure.code == "unsafe_pickle"
    assert "torch.nn.modules.linear.Linear" in failure.message
    assert "state_dict()" in failure.message


SAFETENSORS = {
    "header beyond the file": raw_safetensors({"w": entry([4], 0, 16)}, FLOATS, length=10_000),
    "header of 2^62": raw_safetensors({"w": entry([4], 0, 16)}, FLOATS, length=2**62),
    "no JSON": raw_safetensors(b'{"w": [', FLOATS),
    "no UTF-8": raw_safetensors(b'{"\xff\xfe": 1}', FLOATS),
    "deep JSON": raw_safetensors(b'{"w":' + b"[" * 10**6, FLOATS),
    "overlap": raw_safetensors({"a": entry([4], 0, 16), "b": entry([4], 0, 16)}, FLOATS),
    "partial overlap": raw_safetensors({"a": entry([3], 0, 12), "b": entry([2], 8, 16)}, FLOATS),
    "hole": raw_safetensors({"a": entry([1], 0, 4), "b": entry([2], 8, 16)}, FLOATS),
    "begins late": raw_safetensors({"a": entry([3], 4, 16)}, FLOATS),
    "trailing": raw_safetensors({"a": entry([4], 0, 16)}, FLOATS + b"more"),
    "short": raw_safetensors({"a": entry([4], 0, 16)}, FLOATS[:-1]),
    "shape is not bytes": raw_safetensors({"a": entry([5], 0, 16)}, FLOATS),
    "overflow": raw_safetensors({"a": entry([2**32, 2**32, 2**32], 0, 16)}, FLOATS),
    "many dimensions": raw_safetensors({"a": entry([1] * 10_000, 0, 4)}, FLOATS[:4]),
    "unknown dtype": raw_safetensors({"a": entry([4], 0, 16, "F31")}, FLOATS),
    "negative side": raw_safetensors({"a": entry([-4], 0, 16)}, FLOATS),
    "two negative sides": raw_safetensors({"a": entry([-2, -2], 0, 16)}, FLOATS),
    "negative offset": raw_safetensors({"a": entry([4], -16, 0)}, FLOATS),
    "fractional side": raw_safetensors({"a": entry([4.0], 0, 16)}, FLOATS),
    "true as a side": raw_safetensors({"a": entry([True, 4], 0, 16)}, FLOATS),
    "NaN as an offset": raw_safetensors(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,NaN]}}', FLOATS),
    "entry of another kind": raw_safetensors({"a": [1, 2, 3]}, FLOATS),
    "field too many": raw_safetensors({"a": entry([4], 0, 16) | {"code": "x"}}, FLOATS),
    "duplicate key": raw_safetensors(
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"I32","shape":[4],"data_offsets":[0,16]}}',
        FLOATS,
    ),
    "metadata of numbers": raw_safetensors({"__metadata__": {"n": 1}, "a": entry([4], 0, 16)}, FLOATS),
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_damaged_safetensors_are_refused(tmp_path: Path, kind: str) -> None:
    failure = refusal(tmp_path, SAFETENSORS[kind])
    assert failure.code == "corrupt_file"
    assert "safetensors" in failure.message


@pytest.mark.parametrize("header", [b"{}", b'{"__metadata__":{"format":"pt"}}', b"{}   "])
def test_safetensors_without_tensors_are_refused(tmp_path: Path, header: bytes) -> None:
    assert refusal(tmp_path, raw_safetensors(header)).code == "no_tensors"


def test_a_pickle_by_the_name_of_safetensors_is_read_as_what_it_is(tmp_path: Path) -> None:
    """Names are not looked at: content decides."""
    assert run(tmp_path, saved(state())).document["report"]["copied"] == files.NAMES


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_must_be_finite(tmp_path: Path, number: float) -> None:
    weights = state()
    weights["features.0.weight"][0, 0, 0, 0] = number
    failure = refusal(tmp_path, files.safe(weights))
    assert failure.code == "not_finite"
    assert "features.0.weight" in failure.message


def test_float64_beyond_float32_is_not_finite(tmp_path: Path) -> None:
    weights = state() | {"classifier.0.bias": torch.tensor([1e300, 0, 0], dtype=torch.float64)}
    assert refusal(tmp_path, saved(weights)).code == "not_finite"


def _in_bounded_memory(data: bytes, folder: Path) -> None:
    limit = 512 * 2**20
    with Path("/proc/self/statm").open() as usage:
        held = int(usage.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (held + limit, held + limit))
    code = refusal(folder, data).code
    os._exit(0 if code == "corrupt_file" else 1)


def test_a_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    """Two gigabytes in two megabytes: refused by a process that may take half a gigabyte."""
    child = get_context("fork").Process(target=_in_bounded_memory, args=(files.bomb(256), tmp_path / "x"))
    child.start()
    child.join(60)
    assert child.exitcode == 0
