"""A repository of the Hugging Face hub as an archive: weights, in one file or in shards, and what lies beside them."""

import json
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from worker.ingest import archive, disk, repository_config, weights, weights_zip
from worker.ingest.archive import Archive
from worker.ingest.repository_config import Described
from worker.ingest.watch import DiskWatch
from worker.runtime.contract import Failure

MAX_JSON = 32 * 2**20  # of a configuration, or the list of a model's tensors
CHUNK = 2**20
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
STEMS = ("model.safetensors", "pytorch_model.bin")  # what is there twice is the same: the first is taken
INDEX = ".index.json"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
BESIDE = ("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth")  # of the Trainer


@dataclass(frozen=True)
class Repository:
    tensors: dict[str, Tensor]
    described: Described


def read(path: Path, workdir: Path, watch: DiskWatch) -> Repository | None:
    """The weights in an archive of a folder, and what it says of them; None where the file is no such archive.

    Raises:
        Failure: `missing_shard`, a part of the weights is not there; `ambiguous_weights`, there are several files of
            weights; `corrupt_file`, a configuration is no JSON; or see `archive.open` and `weights.read`.
    """
    if not _is_archive(path):
        return None
    folder = archive.open(path, watch)
    root = _root(folder.files)
    if root is None:
        return None
    names = [name.removeprefix(root) for name in folder.files if name.startswith(root)]
    documents = _documents(folder, root, names)
    index = next((documents[stem + INDEX] for stem in STEMS if stem not in names and stem + INDEX in documents), None)
    chosen = _chosen(names) if index is None else _shards(index, names)
    tensors = _tensors(folder, [root + name for name in chosen], workdir, watch)
    if index is not None:
        _require_all(index, tensors)
    return Repository(tensors, repository_config.described(documents.get(CONFIG, {}), documents.get(PREPROCESSOR, {})))


def _is_archive(path: Path) -> bool:
    """Tell whether the file is a zip or a tar, and not a zip that PyTorch wrote."""
    if zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(2) != b"PK":  # safetensors and pickles may end as a zip does
                return False
        with zipfile.ZipFile(path) as members:
            return not ({"data.pkl", *weights_zip.PROGRAMS} & {Path(name).name for name in members.namelist()})
    with path.open("rb") as file:
        head = file.read(512)
    return tarfile.is_tarfile(path) if head[257:262] == b"ustar" or head[:2] == b"\x1f\x8b" else False


def _root(names: Iterable[str]) -> str | None:
    """The folder, with a slash, in which the weights lie."""
    folders = {name.rpartition("/")[0] for name in names if name.endswith(SUFFIXES)}
    top = min(folders, key=lambda folder: (folder.count("/"), len(folder), folder), default=None)
    return None if top is None else f"{top}/" if top else ""


def _documents(folder: Archive, root: str, names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    wanted = {root + name for name in names if name in (CONFIG, PREPROCESSOR) or name.endswith(INDEX)}
    contents = folder.read_some(wanted, MAX_JSON) if wanted else {}
    return {name.removeprefix(root): _parsed(name, text) for name, text in contents.items()}


def _parsed(name: str, text: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure("corrupt_file", f"{name} is no JSON ({error}): pack the folder again.") from error
    if not isinstance(document, dict):
        raise Failure("corrupt_file", f"{name} is no JSON object: pack the folder again.")
    return document


def _chosen(names: list[str]) -> list[str]:
    """The only file of weights, or the one that the field takes of several."""
    for stem in STEMS:
        if stem in names:
            return [stem]
    files = [name for name in names if name.endswith(SUFFIXES) and "/" not in name and name not in BESIDE]
    if len(files) == 1:
        return files
    shown = ", ".join(files) or "none"
    message = f"One file of weights is needed ({' or '.join(STEMS)}), and the archive holds {shown}: pack one of them."
    raise Failure("ambiguous_weights", message)


def _shards(index: Mapping[str, Any], names: list[str]) -> list[str]:
    files = sorted({str(file) for file in _map(index).values()})
    missing = [file for file in files if file not in names]
    if missing:
        message = f"Of the {len(files)} parts of these weights {len(missing)} are missing: {', '.join(missing)}."
        raise Failure("missing_shard", f"{message} Pack them all.")
    return files


def _map(index: Mapping[str, Any]) -> Mapping[str, Any]:
    """The file of each tensor, by the tensor's name."""
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files:
        raise Failure("corrupt_file", "The list of the weights' parts names none: pack the folder again.")
    return files


def _require_all(index: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    if missing := [name for name in _map(index) if name not in tensors]:
        message = f"{len(missing)} tensors that the list of the weights' parts names are in none of them: "
        raise Failure("missing_shard", message + ", ".join(missing[:5]) + ".")


def _tensors(folder: Archive, names: list[str], workdir: Path, watch: DiskWatch) -> dict[str, Tensor]:
    """The tensors of several files of an archive, each unpacked and removed again."""
    tensors: dict[str, Tensor] = {}
    for member in folder.walk():
        if member.name not in names:
            continue
        with disk.room_for("the weights"), tempfile.TemporaryDirectory(dir=workdir) as scratch:
            unpacked = Path(scratch) / "weights"
            with unpacked.open("wb") as file:
                while data := member.stream.read(CHUNK):
                    file.write(data)
            part = {name: tensor.clone() for name, tensor in weights.read(unpacked, watch).items()}
        if twice := part.keys() & tensors.keys():
            raise Failure("corrupt_file", f"Two parts of these weights hold {min(twice)}.")
        tensors |= part
    return tensors
