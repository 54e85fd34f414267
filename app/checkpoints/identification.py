"""The rules of identifications: which network a file's weights are of, without a checkpoint made of them."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from app.checkpoints import repository
from app.contract.blobs import Input, Written
from app.contract.identification import Identification
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


def create(db: Session, owner: str, *, file: str) -> StoredIdentification:
    """Ask a worker which network the weights in `file` are of.

    Raises:
        NotFound: the owner has no such file.
    """
    files.get(db, owner, file, param="file")
    row = IdentificationRow(id=ids.new("idn"), owner=owner, created_at=now(), file=file)
    repository.add(db, row)
    return StoredIdentification(row, queue.enqueue(db, id=row.id, kind=KIND, lane="ingest", owner=owner, needs=[file]))


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
    """
    file = files.by_id(db, _stored(db, identification_id).file)
    return Prepared(IdentifyRequest(), {Input.FILE: file.sha256})


def publish(db: Session, identification_id: str, result: Identification, written: Written) -> None:
    """Record what the file was found to be of.  The caller holds the lease and ends the task in the same
    transaction."""
    _stored(db, identification_id).result = result.dump()


def _stored(db: Session, identification_id: str) -> IdentificationRow:
    row = db.get(IdentificationRow, identification_id)
    if row is None:
        raise errors.NotFound(f"There is no identification {identification_id}.")
    return row
