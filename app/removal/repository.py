"""The SQL of removal: it knows every noun that can be deleted, and what depends on what."""

from collections.abc import Collection

from sqlalchemy import delete, select, union, update
from sqlalchemy.orm import Session

from app.core.status import TERMINAL
from app.db.session import now
from app.db.tables import (
    CheckpointRow,
    DatasetRow,
    Dependency,
    FileRow,
    IdempotentRequest,
    IdentificationRow,
    JobRow,
    ModelRow,
    Owned,
    PreflightRow,
    RecommendationRow,
    Task,
    TournamentRow,
    UploadPart,
    UploadRow,
)
from app.usage.repository import take_turns

_BLOBS = (
    FileRow.sha256,
    UploadPart.sha256,
    Task.snapshot,
    CheckpointRow.weights,
    CheckpointRow.graph,
    DatasetRow.pixels,
    DatasetRow.index,
    ModelRow.weights,
    ModelRow.graph,
    ModelRow.adapter,
    ModelRow.quantized,
)
ACTIVE = ("run", "tournament", "sweep")  # kinds of tasks that end before they are deleted
_TABLES: dict[str, type[Owned]] = {
    "file": FileRow,
    "ckpt": CheckpointRow,
    "ds": DatasetRow,
    "job": JobRow,
    "model": ModelRow,
    "idn": IdentificationRow,
    "rec": RecommendationRow,
    "pre": PreflightRow,
    "tour": TournamentRow,
    "sweep": TournamentRow,
}


def hold(db: Session, owner: str, object_id: str) -> bool:
    """Tell whether the owner has the object; if so, nothing can come to depend on it until the transaction ends."""
    table = _TABLES.get(_prefix(object_id))
    if table is None:
        return False
    query = select(table.id).where(table.id == object_id, table.owner == owner).with_for_update()
    return db.scalar(query) is not None


def dependents(db: Session, object_id: str) -> list[str]:
    """All that would be left without what it needs, at any distance, sorted."""
    reached = select(Dependency.dependent).where(Dependency.needs == object_id).cte("found", recursive=True)
    reached = reached.union(select(Dependency.dependent).join(reached, Dependency.needs == reached.c.dependent))
    return list(db.scalars(select(reached.c.dependent).order_by(reached.c.dependent)))


def active(db: Session, object_ids: Collection[str]) -> list[str]:
    """The ids of those objects that are jobs, tournaments or sweeps and have not ended."""
    ended = [status.value for status in TERMINAL]
    query = select(Task.id).where(Task.id.in_(object_ids), Task.kind.in_(ACTIVE), Task.status.not_in(ended))
    return list(db.scalars(query.order_by(Task.id)))


def remove(db: Session, object_id: str) -> None:
    table = _TABLES[_prefix(object_id)]
    if table is DatasetRow:
        _pass_on_pixels(db, object_id)
    db.execute(delete(table).where(table.id == object_id))
    if table is ModelRow:
        db.execute(update(JobRow).where(JobRow.model == object_id).values(model=None))


def referenced(db: Session) -> set[str]:
    """Every blob that some row mentions."""
    return {sha256 for sha256 in db.scalars(union(*(select(column) for column in _BLOBS))) if sha256 is not None}


def clock(db: Session) -> float:
    """The database's."""
    return db.execute(select(now())).scalar_one()


def forget_expired(db: Session, *, request_lifetime_s: float) -> None:
    """Uploads that were not completed in time, with their parts, and answers that were kept long enough."""
    db.execute(delete(UploadRow).where(UploadRow.expires_at < now()))
    db.execute(delete(IdempotentRequest).where(IdempotentRequest.claimed_at < now() - request_lifetime_s))


def _pass_on_pixels(db: Session, dataset_id: str) -> None:
    """Before a dataset is removed: bytes of its pixels that count for it alone count for another that shares them."""
    dataset = db.get_one(DatasetRow, dataset_id)
    if dataset.pixels is None or dataset.shared_bytes:
        return
    take_turns(db, dataset.owner)
    others = select(DatasetRow).where(
        DatasetRow.owner == dataset.owner, DatasetRow.pixels == dataset.pixels, DatasetRow.id != dataset_id
    )
    sharing = list(db.scalars(others.order_by(DatasetRow.created_at, DatasetRow.id).with_for_update()))
    if sharing and all(other.shared_bytes for other in sharing):
        heir = sharing[0]
        heir.stored_bytes, heir.shared_bytes = heir.stored_bytes + heir.shared_bytes, 0
        db.flush()


def _prefix(object_id: str) -> str:
    return object_id.partition("_")[0]
