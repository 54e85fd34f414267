"""Identifiers that carry their kind: `job_…`, `ckpt_…`."""

import secrets
from typing import Literal

Prefix = Literal["file", "upload", "ckpt", "ds", "job", "model", "key", "worker", "idn", "rec", "pre", "tour", "sweep"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread


def is_of(object_id: str, prefix: Prefix) -> bool:
    """Tell whether the id is of that kind, by its form alone."""
    return object_id.startswith(f"{prefix}_")


def new(prefix: Prefix) -> str:
    """A fresh id with 120 random bits, e.g. `job_3f9k…` (24 characters after the prefix)."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(24))}"
