"""The archive around a PyTorch file, looked at before PyTorch does.

`torch.load` takes an archive whose members are deflated, doubled, or more than it knows: a small file then grows large.
"""

import re
import zipfile
from pathlib import Path

from worker.engine.contract import Failure

MEMBER = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)
SCRIPT = re.compile(r"code/.*|constants\.pkl|constants/.*|extra/.*")
EXPORTED = re.compile(r"archive_format|archive_version|models/.*|data/weights/.*|data/aotinductor/.*")


def check(path: Path) -> None:
    """
    Raises:
        Failure: `unsupported_media_type`, it is another kind of archive; `corrupt_file`, it is damaged or strange.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), path.stat().st_size)
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError, ValueError) as error:
        raise Failure("corrupt_file", f"The file is damaged: {error}.") from None
    if damaged is not None:
        raise Failure("corrupt_file", f"The file is damaged: the checksum of {damaged} is wrong. Upload it again.")


def _check_members(members: list[zipfile.ZipInfo], file_bytes: int) -> None:
    names = [member.filename for member in members]
    root = names[0].partition("/")[0] if names else ""
    inside = [name.removeprefix(f"{root}/") for name in names]
    _check_kind(inside)
    if not all(name.startswith(f"{root}/") for name in names):
        raise Failure("corrupt_file", "The archive has more than one folder: it was not written by `torch.save`.")
    if len(set(names)) < len(names):
        raise Failure("corrupt_file", "A name stands twice in the archive: it was not written by `torch.save`.")
    strange = [name for name in inside if not MEMBER.fullmatch(name)]
    if strange:
        raise Failure("corrupt_file", f"The archive holds {strange[0]!r}, which `torch.save` does not write.")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Failure("corrupt_file", "The archive is compressed, which `torch.save` never does: save it again.")
    if sum(member.file_size for member in members) > file_bytes:
        raise Failure("corrupt_file", "The archive's members claim to be larger than the whole.")


def _check_kind(inside: list[str]) -> None:
    for kind, pattern in (("a TorchScript", SCRIPT), ("an exported program's", EXPORTED)):
        if any(pattern.fullmatch(name) for name in inside):
            raise Failure("unsupported_media_type", f"This is {kind} archive, which holds code: save `state_dict()`.")
    if "data.pkl" not in inside:
        raise Failure("unsupported_media_type", "This archive is no PyTorch file: save `state_dict()` by `torch.save`.")
