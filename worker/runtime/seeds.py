"""Random numbers: every consumer has a stream of its own, derived from the run's one seed."""

import hashlib

import torch


def derive(seed: int, *labels: str | int) -> int:
    """A 63-bit seed for the stream named by `labels`; streams of other labels are independent of it."""
    text = "\0".join(map(str, (seed, *labels)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *labels: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(derive(seed, *labels))
