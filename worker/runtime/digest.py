"""The digest of named tensors: equal weights have equal digests, whatever file they lie in."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over, for each name in sorted order: name, dtype, shape, and the elements' little-endian bytes.

    The text parts end in a zero byte each, so that no two sets of tensors are fed in alike.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"{name}\0{dtype}\0{shape}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
