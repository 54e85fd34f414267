"""The rules of datasets: born from a file, ingested by a worker, read by jobs."""

from typing import Literal

from sqlalchemy.orm import Session

from app.contract import record
from app.contract.blobs import Artifact, Input, Written
from app.contract.results import DatasetResult
from app.contract.specs import DatasetIngest, DatasetSpec, Prepared
from app.core import errors, ids
from app.core.status import Readiness, Status, readiness, statuses
from app.datasets import repository
from app.datasets.repository import StoredDataset
from app.db.paging import Page
from app.db.session import now
from app.db.tables import DatasetRow
from app.files import service as files
from app.queue import service as queue

KIND = "ingest_dataset"
OPTIONS = ("splits", "seed", "labels", "columns", "split_names", "classes")  # fields without a column of their own


def create(
    db: Session, owner: str, *, name: str, file: str, ingest: DatasetIngest, metadata: dict[str, str]
) -> StoredDataset:
    """Create a dataset that a worker is to make of `file` as `ingest` says.

    Raises:
        NotFound: the owner has no such file.
    """
    files.get(db, owner, file, param="file")
    dataset = DatasetRow(
        id=ids.new("ds"),
        owner=owner,
        created_at=now(),
        name=name,
        file=file,
        format=ingest.format,
        options={option: getattr(ingest, option) for option in OPTIONS},
        labelled=bool(ingest.labelled),
        only_tests_labelled=ingest.labelled == "test",
        user_metadata=metadata,
    )
    repository.add(db, dataset)
    task = queue.enqueue(db, id=dataset.id, kind=KIND, lane="ingest", owner=owner, needs=[file])
    return StoredDataset(dataset, task)


def get(db: Session, owner: str, dataset_id: str, *, param: str | None = None) -> StoredDataset:
    """`param` names the field of a request that refers to it: such a dataset is held against deletion meanwhile.

    Raises:
        NotFound: the owner has no such dataset.
    """
    stored = repository.find(db, owner, dataset_id, hold=param is not None)
    if stored is None:
        raise errors.NotFound(f"There is no dataset {dataset_id}.", param=param)
    return stored


def ready(db: Session, owner: str, dataset_id: str) -> DatasetRow:
    """
    Raises:
        NotReady: its ingest has not ended, or has failed.
    """
    stored = get(db, owner, dataset_id)
    state = readiness(Status(stored.task.status))
    if state is not Readiness.READY:
        raise errors.NotReady(f"The dataset {dataset_id} is {state}.")
    return stored.dataset


def page(db: Session, owner: str, page: Page, status: Readiness | None) -> list[StoredDataset]:
    return repository.page(db, owner, page, statuses(status) if status else ())


def prepare(db: Session, dataset_id: str) -> Prepared[DatasetIngest]:
    """Tell a worker how to ingest the dataset.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    dataset = stored(db, dataset_id)
    spec = DatasetIngest.load({"format": dataset.format, "labelled": labelled(dataset), **dataset.options})
    return Prepared(spec, {Input.FILE: files.by_id(db, dataset.file).sha256})


def publish(db: Session, dataset_id: str, result: DatasetResult, written: Written) -> None:
    """Record what ingest made of the file.  The caller holds the lease and ends the task in the same transaction."""
    dataset = stored(db, dataset_id)
    dataset.format = result.format
    dataset.labelled = bool(result.labelled)
    dataset.only_tests_labelled = result.labelled == "test"
    dataset.multi_label = result.multi_label
    dataset.classes = result.classes
    dataset.image = record.stored(result.image)
    dataset.splits = result.splits.dump()
    dataset.counts = record.stored(result.counts)
    dataset.mean, dataset.std = result.mean, result.std
    dataset.refused = [refused.dump() for refused in result.refused]
    dataset.duplicates = record.stored(result.duplicates)
    dataset.sha256 = result.sha256
    dataset.stored_bytes = written.stored_bytes
    dataset.pixels = written.addresses[Artifact.PIXELS]
    dataset.index = written.addresses[Artifact.INDEX]


def stored(db: Session, dataset_id: str) -> DatasetRow:
    """The dataset, whoever owns it: for the worker, whose claim has settled whose it is.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    dataset = repository.get(db, dataset_id)
    if dataset is None:
        raise errors.NotFound(f"There is no dataset {dataset_id}.")
    return dataset


def spec(dataset: DatasetRow) -> DatasetSpec:
    """Describe a ready dataset to a run."""
    fields = ("format", "classes", "image", "splits", "counts", "mean", "std", "sha256")
    return DatasetSpec.load({field: getattr(dataset, field) for field in fields} | {"labelled": labelled(dataset)})


def labelled(dataset: DatasetRow) -> bool | Literal["test"]:
    """Tell whether the dataset's images have labels; `test`: not where one would learn from them."""
    return "test" if dataset.only_tests_labelled else dataset.labelled
