"""The rules of revisions: a dataset of the images of another, its parent, with labels that a list adds and corrects.

Until it is made a revision needs its parent; then it stands by itself, and the parent may go.
"""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from app.contract.blobs import Artifact, Input, Written
from app.contract.results import RevisionResult
from app.contract.specs import DatasetRevision, Prepared
from app.core import ids
from app.datasets import repository, service
from app.datasets.repository import StoredDataset
from app.db.session import now
from app.db.tables import DatasetRow
from app.files import service as files
from app.queue import service as queue

KIND = "revise_dataset"
OF_THE_IMAGES = ("image", "splits", "mean", "std", "refused", "duplicates", "pixels")  # columns that stay the parent's


def create(
    db: Session,
    owner: str,
    parent_id: str,
    *,
    labels: str,
    stated: bool,
    name: str | None,
    columns: Mapping[str, str] | None,
    metadata: dict[str, str],
) -> StoredDataset:
    """Create a dataset that a worker is to make of a parent and the file `labels`: a table, or, `stated`, the JSON of
    the request.

    Raises:
        NotFound: the owner has no such parent or file.
    """
    parent = service.get(db, owner, parent_id, param="id").dataset
    file = files.get(db, owner, labels, param="labels")
    dataset = DatasetRow(
        id=ids.new("ds"),
        owner=owner,
        created_at=now(),
        name=name or parent.name,
        file=parent.file,
        format=parent.format,
        options={"columns": columns, "labels_file": file.id, "stated": stated},
        labelled=True,
        parent=parent.id,
        user_metadata=metadata,
    )
    repository.add(db, dataset)
    needs = [parent.id, file.id, parent.file]
    return StoredDataset(dataset, queue.enqueue(db, id=dataset.id, kind=KIND, lane="ingest", owner=owner, needs=needs))


def prepare(db: Session, dataset_id: str) -> Prepared[DatasetRevision]:
    """Tell a worker how to revise the parent.

    Raises:
        NotFound: one of them was deleted meanwhile.
    """
    dataset = service.stored(db, dataset_id)
    parent, warnings = _parent(db, dataset)
    labels = files.by_id(db, dataset.options["labels_file"])
    assert parent.pixels is not None
    assert parent.index is not None
    spec = DatasetRevision(
        classes=parent.classes or [],
        multi_label=parent.multi_label,
        warnings=warnings,
        filename=labels.filename,
        columns=dataset.options["columns"],
        stated=dataset.options["stated"],
    )
    inputs: dict[str, str] = {
        Input.FILE: labels.sha256,
        Input.PARENT_PIXELS: parent.pixels,
        Input.PARENT_INDEX: parent.index,
    }
    return Prepared(spec, inputs)


def publish(db: Session, dataset_id: str, result: RevisionResult, written: Written) -> None:
    """Record the revision, which has its parent's pixels from now on and does not need the parent any more.  The caller
    holds the lease and ends the task in the same transaction."""
    dataset = service.stored(db, dataset_id)
    parent, _ = _parent(db, dataset)
    for column in OF_THE_IMAGES:
        setattr(dataset, column, getattr(parent, column))
    dataset.format = parent.format
    dataset.labelled = bool(result.labelled)
    dataset.only_tests_labelled = result.labelled == "test"
    dataset.multi_label = result.multi_label
    dataset.classes = result.classes
    dataset.counts = result.counts.dump()
    dataset.revision = result.report.dump()
    dataset.sha256 = result.sha256
    dataset.index = written.addresses[Artifact.INDEX]
    dataset.stored_bytes = written.stored_bytes
    dataset.shared_bytes = result.pixel_bytes
    queue.release(db, dataset.id, parent.id)


def _parent(db: Session, dataset: DatasetRow) -> tuple[DatasetRow, list[dict[str, str]]]:
    """The parent of a revision that is being made, and its warnings."""
    assert dataset.parent is not None
    parent = service.stored(db, dataset.parent)
    stored = repository.find(db, parent.owner, parent.id)
    return parent, stored.task.warnings if stored else []
