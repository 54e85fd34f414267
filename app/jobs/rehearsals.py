"""The rules of measured preflights: a job rehearsed by a worker, and what it takes told of that."""

import hashlib
import json
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.contract.blobs import Written
from app.contract.preflight import MeasuredCost
from app.contract.specs import DatasetSpec, Prepared, RunSpec, SourceSpec
from app.core import errors, ids
from app.core.status import Status
from app.core.version import code_version
from app.datasets import service as datasets
from app.db.session import now
from app.db.tables import PreflightRow, Task
from app.jobs import planning, repository
from app.jobs import service as jobs
from app.jobs.planning import Plan, Request
from app.methods.base import Method
from app.methods.registry import parse as parse_method
from app.queue import service as queue
from app.queue.policy import QUESTION

KIND = "preflight"
# of a method: changes what is learned, and costs the same
COSTLESS = {"learning_rate", "weight_decay", "momentum", "label_smoothing", "scheduler", "warmup_epochs"}


class StoredPreflight(NamedTuple):
    """A measured preflight and its task."""

    preflight: PreflightRow
    task: Task

    @property
    def cost(self) -> MeasuredCost | None:
        """The answer, once it is there."""
        result = self.preflight.result
        return None if result is None else MeasuredCost.load(result)


def create(db: Session, owner: str, request: Request) -> StoredPreflight:
    """Have a worker measure what a job takes.  Where it has measured one that takes the same, that is the answer.

    Raises:
        Invalid, NotFound, NotReady, UntrainedHead: see `planning.resolve`.
        Unfit: checkpoint, dataset and method do not fit together.
    """
    plan = planning.resolve(db, owner, request)
    plan.require_fit()
    ready = not planning.waits_for(plan)
    key = _key(plan) if ready else None
    before = None if key is None else repository.measured(db, owner, key)
    row = PreflightRow(
        id=ids.new("pre"),
        owner=owner,
        created_at=now(),
        request={
            "checkpoint": request.checkpoint,
            "dataset": request.dataset,
            "source_dataset": request.source_dataset,
            "method": plan.method.model_dump(mode="json"),
            "seed": request.seed,
        },
        key=key,
        place=before and before.place,
        result=before and before.result,
    )
    db.add(row)
    db.flush()
    needs, born = (jobs.needs(plan), Status.QUEUED) if before is None else ([], Status.SUCCEEDED)
    task = queue.enqueue(db, id=row.id, kind=KIND, lane="run", owner=owner, needs=needs, born=born)
    task.rank = QUESTION
    db.flush()
    return get(db, owner, row.id)


def known(db: Session, owner: str, plan: Plan) -> MeasuredCost | None:
    """The cost of a job whose parts are ready, where it has been measured."""
    row = repository.measured(db, owner, _key(plan))
    return None if row is None else MeasuredCost.load(row.result or {})


def get(db: Session, owner: str, preflight_id: str) -> StoredPreflight:
    """
    Raises:
        NotFound: the owner has no such preflight.
    """
    found = repository.find_preflight(db, owner, preflight_id)
    if found is None:
        raise errors.NotFound(f"There is no preflight {preflight_id}.")
    return StoredPreflight(*found)


def prepare(db: Session, preflight_id: str) -> Prepared[RunSpec[Method]]:
    """Tell a worker what to rehearse, and resolve what was open while the checkpoint or a dataset was processing.

    Raises:
        NotFound: it was deleted meanwhile.
        RegraftError: now that all parts are known, they do not fit together.
    """
    row = _stored(db, preflight_id)
    asked = row.request
    request = Request(
        checkpoint=asked["checkpoint"],
        dataset=asked["dataset"],
        source_dataset=asked["source_dataset"],
        method=parse_method(asked["method"]),
        seed=asked["seed"],
    )
    plan = planning.resolve(db, row.owner, request)
    plan.require_fit()
    row.request = asked | {"method": plan.method.model_dump(mode="json")}
    row.key = _key(plan)
    return jobs.prepared(plan, request.seed)


def publish(db: Session, preflight_id: str, result: MeasuredCost, written: Written) -> None:
    """Record what was measured, and where; checkpoint and datasets may be deleted from now on.

    The caller holds the lease and ends the task in the same transaction.
    """
    row = _stored(db, preflight_id)
    row.result, row.place = result.dump(), repository.place(db, preflight_id)
    for needed in queue.needs(db, preflight_id):
        queue.release(db, preflight_id, needed)


def _stored(db: Session, preflight_id: str) -> PreflightRow:
    row = db.get(PreflightRow, preflight_id)
    if row is None:
        raise errors.NotFound(f"There is no preflight {preflight_id}.")
    return row


def _key(plan: Plan) -> str:
    """The digest of all that the cost of a job hangs on; its parts are ready."""
    method = plan.method.model_dump(mode="json")
    domains = [plan.target, plan.source_dataset, *plan.environments.values()]
    sources = [plan.source, *plan.teachers.values()]
    document = {
        "code": code_version(),
        "method": {name: value for name, value in method.items() if name not in COSTLESS},
        "sources": [source and _network(source.spec) for source in sources],
        "datasets": [domain and _images(datasets.spec(domain)) for domain in domains],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _network(source: SourceSpec) -> dict[str, object]:
    """Not its weights: another network of that form takes as long."""
    return SourceSpec(network=source.network, input=source.input, classes=source.classes).dump()


def _images(dataset: DatasetSpec) -> dict[str, object]:
    """Number and size of the images; where sizes are mixed, which ones they are."""
    document = dataset.dump()
    names = ("splits", "counts", "classes", "labelled", "sha256" if dataset.image is None else "image")
    return {name: document.get(name) for name in names}
