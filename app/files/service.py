"""The rules of files: any bytes, stored under their digest, sent whole or in ordered parts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from sqlalchemy.orm import Session

from app.blobs.store import Blob, Blobs, Staged
from app.core import errors, ids
from app.db.paging import Page
from app.db.session import now
from app.db.tables import FileRow, UploadPart, UploadRow
from app.files import names, repository
from app.files.repository import Received
from app.usage import service as usage

MAX_PARTS = 10_000


Content = Blob | Staged  # kept last of all, when nothing can be refused any more


def create(db: Session, owner: str, *, filename: str, blob: Content, most: int = 0) -> FileRow:
    """A file of the owner, whose objects may take `most` bytes together; 0: any number.

    Raises:
        QuotaExceeded: they would take more.
    """
    file = FileRow(
        id=ids.new("file"),
        owner=owner,
        created_at=now(),
        filename=names.clean(filename),
        bytes=blob.bytes,
        sha256=blob.sha256,
    )
    repository.add(db, file)
    usage.require(db, owner, most)
    blob.keep()
    return file


def get(db: Session, owner: str, file_id: str, *, param: str | None = None) -> FileRow:
    """`param` names the field of a request that refers to it: such a file is held against deletion meanwhile.

    Raises:
        NotFound: the owner has no such file.
    """
    file = repository.find(db, owner, file_id, hold=param is not None)
    if file is None:
        raise errors.NotFound(f"There is no file {file_id}.", param=param)
    return file


def by_id(db: Session, file_id: str) -> FileRow:
    """The file, whoever owns it: for the worker, whose claim has settled whose it is.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    file = repository.get(db, file_id)
    if file is None:
        raise errors.NotFound(f"There is no file {file_id}.")
    return file


def page(db: Session, owner: str, page: Page) -> list[FileRow]:
    return repository.page(db, owner, page)


# --- uploads


def begin(
    db: Session,
    owner: str,
    *,
    filename: str,
    bytes: int | None,
    sha256: str | None,
    max_bytes: int,
    lifetime_s: float,
) -> Received:
    """An upload whose parts are to come within `lifetime_s`; `bytes` and `sha256` are what the whole will be.

    Raises:
        TooLarge: that would be more than `max_bytes`.
    """
    if bytes is not None and bytes > max_bytes:
        raise errors.TooLarge(f"No file may be larger than {max_bytes:,} bytes.", param="bytes")
    upload = UploadRow(
        id=ids.new("upload"),
        owner=owner,
        created_at=now(),
        filename=names.clean(filename),
        bytes=bytes,
        sha256=sha256,
        expires_at=now() + lifetime_s,
    )
    repository.add(db, upload)
    return Received(upload, expired=False, parts=[])


def upload(db: Session, owner: str, upload_id: str) -> Received:
    """
    Raises:
        NotFound: the owner has no such upload.
    """
    return _upload(db, owner, upload_id, hold=False)


def expect(received: Received, number: int, max_bytes: int) -> int:
    """The number of bytes that the part `number` may have, if the whole may have `max_bytes`.

    Raises:
        Gone: the upload has expired.
        WrongPart: another part is next.
        Conflict: it is complete.
    """
    _require_open(received)
    following = len(received.parts) + 1
    if not 1 <= number <= min(following, MAX_PARTS):
        raise errors.WrongPart(f"Part {number} was sent; part {following} is next, or an earlier one again.")
    return max_bytes - sum(part.bytes for part in received.parts if part.number != number)


def add_part(
    db: Session, owner: str, upload_id: str, number: int, blob: Content, max_bytes: int, *, most: int = 0
) -> Received:
    """`most`: see `create`.

    Raises:
        QuotaExceeded: see `create`.
        NotFound, Gone, Conflict, WrongPart: see `expect`; or the part is there already, with other bytes.
        TooLarge: the whole would be larger than `max_bytes`.
    """
    received = _upload(db, owner, upload_id, hold=True)
    if blob.bytes > expect(received, number, max_bytes):
        raise errors.TooLarge(f"The upload is larger than {max_bytes:,} bytes.")
    if number > len(received.parts):
        part = UploadPart(upload=upload_id, number=number, bytes=blob.bytes, sha256=blob.sha256)
        repository.add(db, part)
        received.parts.append(part)
        usage.require(db, owner, most)
    elif received.parts[number - 1].sha256 != blob.sha256:
        raise errors.WrongPart(f"Part {number} was received before, with other bytes.")
    blob.keep()
    return received


@contextmanager
def assembling(blobs: Blobs, parts: Sequence[UploadPart]) -> Iterator[Content]:
    """All parts in one; for as long as its copying takes, no transaction is open."""
    if len(parts) == 1:
        yield Blob(parts[0].sha256, parts[0].bytes)
        return
    with blobs.staging(chain.from_iterable(blobs.read(part.sha256) for part in parts)) as staged:
        yield staged


def complete(db: Session, owner: str, upload_id: str, whole: Content, *, most: int = 0) -> FileRow:
    """The file that `whole` becomes; the same one when it is completed again.  `most`: see `create`.

    Raises:
        QuotaExceeded: see `create`.
        NotFound: the owner has no such upload.
        Gone: it has expired.
        Conflict: another part arrived while the others were assembled.
        ChecksumMismatch: size or sha256 are not those announced.
    """
    received = _upload(db, owner, upload_id, hold=True)
    upload = received.upload
    if upload.file is not None:
        return get(db, owner, upload.file)
    _require_open(received)
    if received.bytes != whole.bytes:
        raise errors.Conflict("A part arrived while the upload was being completed; complete it again.")
    _require_announced(upload, whole)
    repository.forget_parts(db, upload_id)
    file = create(db, owner, filename=upload.filename, blob=whole, most=most)
    upload.file = file.id
    return file


def abort(db: Session, owner: str, upload_id: str) -> None:
    """Forget the upload and its parts; a file that it became stays.

    Raises:
        NotFound: the owner has no such upload.
    """
    if not repository.forget_upload(db, owner, upload_id):
        raise errors.NotFound(f"There is no upload {upload_id}.")


def _upload(db: Session, owner: str, upload_id: str, *, hold: bool) -> Received:
    received = repository.find_upload(db, owner, upload_id, hold=hold)
    if received is None:
        raise errors.NotFound(f"There is no upload {upload_id}.")
    return received


def _require_open(received: Received) -> None:
    if received.upload.file is not None:
        raise errors.Conflict(f"The upload is complete: it became {received.upload.file}.")
    if received.expired:
        raise errors.Gone


def _require_announced(upload: UploadRow, whole: Content) -> None:
    if upload.bytes is not None and upload.bytes != whole.bytes:
        raise errors.ChecksumMismatch(f"{whole.bytes:,} bytes arrived of {upload.bytes:,} announced.", param="bytes")
    if upload.sha256 is not None and upload.sha256 != whole.sha256:
        raise errors.ChecksumMismatch(f"The sha256 of what arrived is {whole.sha256}.", param="sha256")
