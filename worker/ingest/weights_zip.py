"""The zip around what torch.save writes, looked at before PyTorch sees it."""

import zipfile
from pathlib import Path

from worker.ingest.watch import DiskWatch
from worker.runtime.contract import Failure

MAX_MEMBERS = 200_000
MAX_PICKLE = 32 * 2**20  # bytes of names, shapes and whatever else is no tensor
CHUNK = 2**20
ENCRYPTED = 0x1  # flag of a member

_KNOWN = {"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}
PROGRAMS = {"constants.pkl": "TorchScript", "archive_format": ".pt2", "serialized_exported_program.json": ".pt2"}


def inspect(path: Path, watch: DiskWatch) -> None:
    """Stored members only, each once, all in one folder, none of them a program, and not a bit of them flipped.

    Raises:
        Failure: `unsupported_media_type`, `not_a_checkpoint` or `corrupt_file`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), path.stat().st_size)
            for number, member in enumerate(archive.infolist()):
                watch.checkpoint_or_stop()
                watch.tell(number, len(archive.infolist()))
                _read_through(archive, member)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise Failure("corrupt_file", f"The file is damaged: {str(error)!r}. Upload it again.") from error


def pickle_of(path: Path) -> bytes:
    """The member that says what the others are, of a file that was inspected."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise Failure("corrupt_file", f"The file has more than {MAX_MEMBERS:,} members.")
    roots = {member.filename.partition("/")[0] for member in members}
    below = {member.filename.partition("/")[2] for member in members}
    _refuse_programs(below | {member.filename for member in members})
    if "data.pkl" not in below:
        raise Failure("not_a_checkpoint", "This is a zip file, but not one that torch.save wrote.")
    if len(roots) > 1:
        raise Failure("corrupt_file", "The file's members are not all in one folder.")
    if len({member.filename.lower() for member in members}) < len(members):  # PyTorch does not tell cases apart
        raise Failure("corrupt_file", "The file has two members of one name.")
    for member in members:
        _check_member(member)
    if sum(member.file_size for member in members) > size:
        raise Failure("corrupt_file", "The file's members are larger than the file: they overlap.")


def _refuse_programs(names: set[str]) -> None:
    for name, kind in PROGRAMS.items():
        if name in names:
            message = f"This is {kind}, a program rather than weights: save `model.state_dict()`."
            raise Failure("unsupported_media_type", message)


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename.partition("/")[2]
    data = name.startswith("data/") and name.count("/") == 1
    if name not in _KNOWN and not data:
        raise Failure("corrupt_file", f"The file has a member that torch.save does not write: {name!r}.")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise Failure("corrupt_file", f"The member {name!r} is compressed; torch.save only stores.")
    if member.flag_bits & ENCRYPTED:
        raise Failure("corrupt_file", f"The member {name!r} is encrypted.")
    if not data and member.file_size > MAX_PICKLE:
        raise Failure("corrupt_file", f"The member {name!r} has more than {MAX_PICKLE:,} bytes.")


def _read_through(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """PyTorch does not look at checksums; Python does, at the end of a member."""
    with archive.open(member) as file:
        while file.read(CHUNK):
            pass
