"""The kinds of background steps: how rows become a spec, and how a result becomes rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.checkpoints import service as checkpoints
from app.contract.record import Record
from app.contract.specs import Prepared
from app.datasets import service as datasets
from app.jobs import service as jobs

Blobs = Mapping[str, str]  # content addresses by role


@dataclass(frozen=True)
class Step:
    """`prepare` gives the spec, and the blobs that the step reads; `publish` records its document, and the blobs
    that it wrote, in the transaction that ends it.  `untrusted`: it reads what users sent, in bounded memory."""

    prepare: Callable[[Session, str], Prepared[Record]]
    publish: Callable[[Session, str, Mapping[str, Any], Blobs], object]
    untrusted: bool


def _publish_checkpoint(db: Session, checkpoint_id: str, document: Mapping[str, Any], blobs: Blobs) -> None:
    checkpoints.publish(db, checkpoint_id, document, blobs["weights"], blobs.get("graph"))


def _publish_dataset(db: Session, dataset_id: str, document: Mapping[str, Any], blobs: Blobs) -> None:
    datasets.publish(db, dataset_id, document, blobs["pixels"], blobs["index"])


STEPS: Mapping[str, Step] = {
    datasets.KIND: Step(datasets.prepare, _publish_dataset, untrusted=True),
    checkpoints.KIND: Step(checkpoints.prepare, _publish_checkpoint, untrusted=True),
    jobs.KIND: Step(jobs.prepare, jobs.publish, untrusted=False),
}
