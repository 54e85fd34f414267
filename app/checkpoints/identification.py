"""The rules of identifications: which network a file's weights are of, without a checkpoint made of them."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from app.checkpoints import labelled, repository
from app.contract import record
from app.contract.blobs import Input, Written
from app.contract.identification import Identification
from app.contract.inputs import InputSpec
from app.contract.specs import IdentifyRequest, Prepared
from app.core import errors, ids
from app.db.session import now
from app.db.tables import IdentificationRow, Task
from app.files import service as files
from app.queue import service as queue

KIND = "identify"


class StoredIdentification(NamedTuple):
    """An identification and its task."""

    identification: IdentificationRow
    task: Task


def create(
    db: Session,
    owner: str,
    *,
    file: str,
    dataset: str | None = None,
    input: InputSpec | None = None,
    classes: list[str] | None = None,
) -> StoredIdentification:
    """Ask a worker which network the weights in `file` are of; the labelled images of `dataset` decide between those
    that it fits alike, seen as `input` and `classes` say, where these are given.

    Raises:
        NotFound: the owner has no such file, or no such dataset.
        NotReady, Unfit: the dataset cannot decide, see `labelled.require`.
    """
    files.get(db, owner, file, param="file")
    if dataset is not None:
        labelled.require(db, owner, dataset)
    row = IdentificationRow(
        id=ids.new("idn"),
        owner=owner,
        created_at=now(),
        file=file,
        dataset=dataset,
        input=record.stored(input),
        classes=classes,
    )
    repository.add(db, row)
    needs = [file] if dataset is None else [file, dataset]
    return StoredIdentification(row, queue.enqueue(db, id=row.id, kind=KIND, lane="ingest", owner=owner, needs=needs))


def get(db: Session, owner: str, identification_id: str) -> StoredIdentification:
    """
    Raises:
        NotFound: the owner has no such identification.
    """
    found = repository.find_identification(db, owner, identification_id)
    if found is None:
        raise errors.NotFound(f"There is no identification {identification_id}.")
    return StoredIdentification(*found)


def prepare(db: Session, identification_id: str) -> Prepared[IdentifyRequest]:
    """Tell a worker what file it is about.

    Raises:
        NotFound: it was deleted meanwhile.
        Unfit: the dataset cannot decide, now that it is known.
    """
    row = _stored(db, identification_id)
    inputs: dict[str, str] = {Input.FILE: files.by_id(db, row.file).sha256}
    input = None if row.input is None else InputSpec.model_validate(row.input)
    said = IdentifyRequest(input=input, classes=row.classes)
    if row.dataset is None:
        return Prepared(said, inputs)
    dataset, images = labelled.prepared(db, row.owner, row.dataset)
    return Prepared(said.model_copy(update={"dataset": dataset}), inputs | images)


def publish(db: Session, identification_id: str, result: Identification, written: Written) -> None:
    """Record what the file was found to be of.  The caller holds the lease and ends the task in the same
    transaction."""
    _stored(db, identification_id).result = result.dump()


def _stored(db: Session, identification_id: str) -> IdentificationRow:
    row = db.get(IdentificationRow, identification_id)
    if row is None:
        raise errors.NotFound(f"There is no identification {identification_id}.")
    return row
