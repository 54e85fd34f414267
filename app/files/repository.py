"""The SQL of files and uploads."""

from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.held import held
from app.db.paging import Page, paged
from app.db.session import now
from app.db.tables import FileRow, UploadPart, UploadRow


class Received(NamedTuple):
    """An upload, and what has arrived of it."""

    upload: UploadRow
    expired: bool
    parts: list[UploadPart]

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


def add(db: Session, row: FileRow | UploadRow | UploadPart) -> None:
    db.add(row)
    db.flush()


def get(db: Session, file_id: str) -> FileRow | None:
    return db.get(FileRow, file_id)


def find(db: Session, owner: str, file_id: str, *, hold: bool = False) -> FileRow | None:
    """The owner's file; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(FileRow).where(FileRow.id == file_id, FileRow.owner == owner)
    return db.scalars(held(db, query, FileRow) if hold else query).one_or_none()


def page(db: Session, owner: str, page: Page) -> list[FileRow]:
    """Up to `page.limit + 1` files: the one too many says that there are more."""
    return list(db.scalars(paged(db, select(FileRow), FileRow, owner, page)))


def find_upload(db: Session, owner: str, upload_id: str, *, hold: bool = False) -> Received | None:
    """The owner's upload.  `hold`: nobody else changes it before we are done."""
    query = select(UploadRow, (UploadRow.expires_at < now()).label("expired"))
    query = query.where(UploadRow.id == upload_id, UploadRow.owner == owner)
    row = db.execute(query.with_for_update() if hold else query).one_or_none()
    if row is None:
        return None
    parts = select(UploadPart).where(UploadPart.upload == upload_id).order_by(UploadPart.number)
    return Received(row[0], bool(row[1]), list(db.scalars(parts)))


def forget_parts(db: Session, upload_id: str) -> None:
    db.execute(delete(UploadPart).where(UploadPart.upload == upload_id))


def forget_upload(db: Session, owner: str, upload_id: str) -> bool:
    """Delete an upload with its parts, and tell whether there was one."""
    mine = delete(UploadRow).where(UploadRow.id == upload_id, UploadRow.owner == owner).returning(UploadRow.id)
    return db.scalar(mine) is not None
