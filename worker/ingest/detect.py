"""The formats that a dataset may have, and which of them a file is in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.ingest import cifar, csv, folder, idx, npz, webdataset
from worker.ingest.archive import Archive
from worker.ingest.listed import NO_IMAGE
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.runtime.contract import Failure


@dataclass(frozen=True)
class Format:
    """`suits` judges by names and first bytes; `read` puts the images into the pack and says what they are."""

    suits: Callable[[Archive, Request], bool]
    read: Callable[[Archive, Pack, Request], ParsedDataset]


PARQUET = b"PAR1"  # its first bytes

FORMATS: Mapping[str, Format] = {  # in the order in which they are tried
    "idx": Format(idx.suits, idx.read),
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
        Failure: `not_an_archive`, and no IDX file either; `no_images`, it is empty; `parquet`, it is one, or holds
            some and no images.
    """
    _refuse_parquet(archive)
    asked = FORMATS if request.format == "auto" else [request.format]
    found = next((name for name in asked if FORMATS[name].suits(archive, request)), None)
    if archive.bare and found != "idx":
        raise Failure("not_an_archive", "The file is no zip, no tar and no IDX file: pack the images into an archive.")
    if not archive.files:
        raise Failure("no_images", "The archive is empty.")
    return found or request.format


def _refuse_parquet(archive: Archive) -> None:
    """
    Raises:
        Failure: `parquet`.
    """
    if archive.bare:
        found = any(member.stream.peek(len(PARQUET)) == PARQUET for member in archive.walk())
    else:
        without_pictures = all(NO_IMAGE.search(name) for name in archive.files)
        found = without_pictures and any(name.lower().endswith(".parquet") for name in archive.files)
    if found:
        raise Failure(
            "parquet",
            "Parquet is not read: write its images into a folder for each class and send that, with the library "
            "datasets by `for n, row in enumerate(data): row['image'].save(f'{names(row['label'])}/{n}.png')`, where "
            "`names` is `data.features['label'].int2str` (the folders have to be there).",
        )
