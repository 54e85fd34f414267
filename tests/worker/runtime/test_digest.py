import hashlib
import struct

import torch

from worker.runtime.digest import sha256


def weights():
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.ones(2, dtype=torch.bfloat16)}


def test_order_layout_and_sharing_do_not_matter():
    found = weights()
    there = dict(reversed(found.items()))
    there["a"] = torch.arange(12.0).reshape(4, 3)[:2]
    assert sha256(there) == sha256(found)
    there["a"] = found["a"].T.contiguous().T
    assert sha256(there) == sha256(found)


def test_every_part_matters():
    digest = sha256(weights())
    assert sha256(weights() | {"a": torch.arange(6.0).reshape(3, 2)}) != digest
    assert sha256(weights() | {"b": torch.tensor(3, dtype=torch.int32)}) != digest
    assert sha256(weights() | {"b": torch.tensor(4)}) != digest
    assert sha256(weights() | {"d": torch.empty(0)}) != digest
    renamed = weights()
    renamed["A"] = renamed.pop("a")
    assert sha256(renamed) != digest


def test_the_digest_is_what_its_docstring_says():
    fed = b"a\0int64\0\0" + struct.pack("<q", 7) + b"w\0float32\0" + b"2\0" + struct.pack("<ff", 1, -2)
    found = sha256({"w": torch.tensor([1.0, -2.0]), "a": torch.tensor(7)})
    assert found == hashlib.sha256(fed).hexdigest()
