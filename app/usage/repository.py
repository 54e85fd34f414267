"""The SQL of what an owner stores."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import CheckpointRow, DatasetRow, FileRow, ModelRow, UploadPart, UploadRow


def stored_bytes(db: Session, owner: str) -> int:
    """Files, parts of uploads, datasets, checkpoints and models; equal bytes count as often as they are stored."""
    parts = select(func.sum(UploadPart.bytes)).join(UploadRow, UploadRow.id == UploadPart.upload)
    sums = (
        select(func.sum(FileRow.bytes)).where(FileRow.owner == owner),
        parts.where(UploadRow.owner == owner),
        *(
            select(func.sum(table.stored_bytes)).where(table.owner == owner)
            for table in (DatasetRow, CheckpointRow, ModelRow)
        ),
    )
    return sum(int(db.scalar(query) or 0) for query in sums)


def take_turns(db: Session, owner: str) -> None:
    """Let nobody else store anything for the owner until the transaction ends; SQLite has one writer anyway."""
    if db.get_bind().dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"usage of {owner}", 0))))
