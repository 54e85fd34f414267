"""The kinds of background tasks: how rows become a spec, and how a result becomes rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy.orm import Session

from app.checkpoints import identification
from app.checkpoints import service as checkpoints
from app.choosing import service as choosing
from app.contract.blobs import Written
from app.contract.record import Record
from app.contract.specs import Prepared
from app.datasets import revisions
from app.datasets import service as datasets
from app.jobs import rehearsals
from app.jobs import service as jobs

Payload = TypeVar("Payload", bound=Record)
Outcome = TypeVar("Outcome", bound=Record)


@dataclass(frozen=True)
class TaskKind(Generic[Payload, Outcome]):
    """`prepare` gives the spec, and the blobs that the task reads; `publish` records its outcome, and the blobs that it
    wrote, in the transaction that ends it.  `untrusted`: it reads what users sent, in bounded memory."""

    prepare: Callable[[Session, str], Prepared[Payload]]
    publish: Callable[[Session, str, Outcome, Written], object]
    untrusted: bool


KINDS: Mapping[str, TaskKind[Any, Any]] = {
    datasets.KIND: TaskKind(datasets.prepare, datasets.publish, untrusted=True),
    revisions.KIND: TaskKind(revisions.prepare, revisions.publish, untrusted=True),
    checkpoints.KIND: TaskKind(checkpoints.prepare, checkpoints.publish, untrusted=True),
    identification.KIND: TaskKind(identification.prepare, identification.publish, untrusted=True),
    jobs.KIND: TaskKind(jobs.prepare, jobs.publish, untrusted=False),
    choosing.KIND: TaskKind(choosing.prepare, choosing.publish, untrusted=False),
    rehearsals.KIND: TaskKind(rehearsals.prepare, rehearsals.publish, untrusted=False),
}
