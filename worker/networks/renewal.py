"""Signatures of the installed libraries' networks, where the shipped ones are of other versions: computed piece by
piece beside a worker's tasks, and kept in a folder that its tasks read."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from app.contract.networks import NetworkSpec
from worker.networks import signatures
from worker.networks.signatures import SHIPPED, Signature

PIECE = 10  # networks: seconds of a core


class KnownSignatures(NamedTuple):
    """Signatures, and where they are of other versions than the installed libraries a sentence that says so."""

    signatures: list[Signature]
    outdated: str | None


def known(folder: Path | None) -> KnownSignatures:
    """The best signatures that there are: those of the installed libraries, renewed in `folder` or shipped; else the
    shipped ones of other versions."""
    shipped, installed = signatures.versions_in(SHIPPED), signatures.versions()
    if shipped == installed:
        return KnownSignatures(signatures.read(SHIPPED), None)
    if folder is not None and signatures.versions_in(_target(folder)) == installed:
        return KnownSignatures(signatures.read(_target(folder)), None)
    text = (
        f"The file was compared with the networks of {_named(shipped or {})}, while {_named(installed)} are installed: "
        "networks that are new or have changed since are not known. The worker makes their signatures anew when it is "
        "idle; ask again later."
    )
    return KnownSignatures(signatures.read(SHIPPED), text)


def renew(folder: Path) -> bool:
    """Compute the next piece of the signatures of the installed libraries; True once there is nothing left to do.

    What was computed by others in the same folder is taken.

    Raises:
        OSError: the folder cannot be written to.
    """
    installed, target = signatures.versions(), _target(folder)
    if installed in (signatures.versions_in(SHIPPED), signatures.versions_in(target)):
        return True
    specs, pieces = list(signatures.specs()), target.with_suffix(".pieces")
    pieces.mkdir(parents=True, exist_ok=True)
    files = {start: pieces / f"{start:05}" for start in range(0, len(specs), PIECE)}
    for start, piece in files.items():
        if signatures.versions_in(piece) != installed:
            _put(piece, _made(specs[start : start + PIECE]))
            return False
    _put(target, [signature for piece in files.values() for signature in signatures.read(piece)])
    shutil.rmtree(pieces, ignore_errors=True)
    return True


def _made(specs: Iterable[NetworkSpec]) -> Iterator[Signature]:
    for spec in specs:
        try:
            yield from signatures.compute([spec])
        except Exception as error:  # noqa: BLE001  # of libraries in versions that nobody has tried: the others are known
            print(f"{spec.name} has no signature: {type(error).__name__}: {error}", file=sys.stderr)


def _target(folder: Path) -> Path:
    return folder / "_".join(f"{name}-{text}" for name, text in signatures.versions().items())


def _put(path: Path, made: Iterable[Signature]) -> None:
    """Write them whole or not at all."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    signatures.write(unfinished, made)
    unfinished.replace(path)


def _named(versions: dict[str, str]) -> str:
    return " and ".join(f"{name} {text}" for name, text in versions.items() if name != "format")
