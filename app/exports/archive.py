"""A zip that is written while it is sent: of texts, and of blobs, which are never held as a whole."""

import hashlib
import json
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from app.blobs.store import Blobs

EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first moment: the same parts give the same bytes
LARGE = 2**31 - 2**20  # bytes, from which on a member needs zip64


@dataclass(frozen=True)
class FromStore:
    """A member that lies in the store under its sha256."""

    sha256: str


Members = Mapping[str, str | FromStore]  # by name


def tag(members: Members) -> str:
    """An ETag that is weak: equal for equal members, and no digest of the zip."""
    said = hashlib.sha256()
    for name, member in members.items():
        content = member.sha256 if isinstance(member, FromStore) else hashlib.sha256(member.encode()).hexdigest()
        said.update(f"{name}\0{content}\n".encode())
    return f'"{said.hexdigest()}"'


async def tensor_names(sha256: str, blobs: Blobs) -> list[str]:
    """The names of the tensors of a safetensors file, by its header: 8 bytes of its length, then JSON."""
    length = int.from_bytes(await _read(sha256, blobs, 0, 8), "little")
    names = json.loads(await _read(sha256, blobs, 8, 8 + length))
    return [name for name in names if name != "__metadata__"]


async def _read(sha256: str, blobs: Blobs, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in blobs.stream(sha256, start, end)])


async def stream(members: Members, blobs: Blobs) -> AsyncIterator[bytes]:
    """The bytes of the zip; nothing is compressed, since weights do not shrink."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, member in members.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            if isinstance(member, str):
                archive.writestr(info, member)
                continue
            size = blobs.size(member.sha256)
            with archive.open(info, "w", force_zip64=size > LARGE) as file:
                async for piece in blobs.stream(member.sha256, 0, size):
                    file.write(piece)
                    yield sink.taken()
    yield sink.taken()


class _Sink:
    """Keeps what is written until it is taken; it cannot be told where it is, as a connection cannot."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes, /) -> int:
        self._pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        """Do nothing: what is written is there."""

    def close(self) -> None:
        """Do nothing: what was written can be taken still."""

    def taken(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
