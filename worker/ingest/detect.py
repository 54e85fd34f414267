"""The formats that a dataset may have, and which of them a file is in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.ingest import cifar, csv, folder, idx, npz, parquet, webdataset
from worker.ingest.archive import Archive
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.runtime.contract import Failure


@dataclass(frozen=True)
class Format:
    """`suits` judges by names and first bytes; `read` puts the images into the pack and says what they are."""

    suits: Callable[[Archive, Request], bool]
    read: Callable[[Archive, Pack, Request], ParsedDataset]


ALONE = ("idx", "parquet")  # formats of files that are no archives

FORMATS: Mapping[str, Format] = {  # in the order in which they are tried
    "idx": Format(idx.suits, idx.read),
    "parquet": Format(parquet.suits, parquet.read),
    "npz": Format(npz.suits, npz.read),
    "cifar10": Format(cifar.suits_ten, cifar.read),
    "cifar100": Format(cifar.suits_hundred, cifar.read),
    "webdataset": Format(webdataset.suits, webdataset.read),
    "csv": Format(csv.suits, csv.read),
    "folder": Format(folder.suits, folder.read),
}


def format_of(archive: Archive, request: Request) -> str:
    """The format that is asked for, or with `auto` the first that suits.

    Raises:
        Failure: `not_an_archive`, nor a file of IDX or Parquet; `no_images`, it is empty.
    """
    asked = FORMATS if request.format == "auto" else [request.format]
    found = next((name for name in asked if FORMATS[name].suits(archive, request)), None)
    if archive.bare and found not in ALONE:
        raise Failure(
            "not_an_archive", "The file is no zip, no tar, no IDX and no Parquet file: pack the images into an archive."
        )
    if not archive.files:
        raise Failure("no_images", "The archive is empty.")
    return found or request.format
