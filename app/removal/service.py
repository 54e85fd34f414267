"""Deleting an object, and with `cascade` all that depends on it, whatever noun it is.

Blobs stay: a sweep removes what no row refers to any more.
"""

from sqlalchemy.orm import Session

from app.core import errors, ids
from app.core.errors import Detail
from app.core.ids import Prefix
from app.queue import service as queue
from app.removal import repository


def delete(db: Session, owner: str, kind: Prefix, object_id: str, *, cascade: bool) -> None:
    """Delete the owner's object, which is of that kind.

    Raises:
        NotFound: the owner has no such object, or it is of another kind.
        HasDependents: other objects need it and `cascade` was not asked for; `errors` lists them all.
        WrongStatus: it, or what would go with it, is a job or a tournament that has not ended.
    """
    if not ids.is_of(object_id, kind) or not repository.hold(db, owner, object_id):
        raise errors.NotFound(f"There is no object {object_id}.")
    dependents = repository.dependents(db, object_id)
    if dependents and not cascade:
        raise errors.HasDependents(
            f"{len(dependents)} objects depend on {object_id}; delete them first, or pass ?cascade=true.",
            errors=[_detail(d, f"{d} depends on {object_id}.", errors.HasDependents.code) for d in dependents],
        )
    _refuse_active(db, [object_id, *dependents])
    for doomed in (*dependents, object_id):
        queue.forget(db, doomed)
        repository.remove(db, doomed)


def _refuse_active(db: Session, object_ids: list[str]) -> None:
    active = repository.active(db, object_ids)
    if active:
        raise errors.WrongStatus(
            f"Cancel {', '.join(active[:5])} first: what is under way is deleted once it has ended.",
            errors=[_detail(job, f"{job} has not ended.", errors.WrongStatus.code) for job in active],
        )


def _detail(object_id: str, sentence: str, code: str) -> Detail:
    return {"param": object_id, "detail": sentence, "code": code}
