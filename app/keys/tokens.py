"""The form of a key's text: `regraft_<id>_<256 random bits><checksum>`."""

import hashlib
import re
import secrets
import zlib
from typing import NamedTuple

_FORM = re.compile(r"(regraft_([0-9a-z]{24})_[0-9a-f]{64})([0-9a-f]{8})")


class Token(NamedTuple):
    """`text` is the whole key, for its owner alone; we keep `sha256`."""

    key_id: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def new(key_id: str) -> Token:
    body = f"regraft_{key_id.removeprefix('key_')}_{secrets.token_hex(32)}"
    return Token(key_id, body + _checksum(body))


def parse(text: str) -> Token | None:
    """The key in `text`; None for what no key can be: a slip of the hand costs no look-up, and scanners can tell a
    leaked key."""
    match = _FORM.fullmatch(text)
    if match is None or match[3] != _checksum(match[1]):
        return None
    return Token(f"key_{match[2]}", text)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
