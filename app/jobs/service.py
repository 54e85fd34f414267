"""The rules of jobs: asked for, run by a worker, published as a model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.contract import blobs as roles
from app.contract import record
from app.contract.blobs import Input, Written
from app.contract.lineage import Lineage
from app.contract.results import AdaptedResult, QuantizedResult, RunResult
from app.contract.specs import Prepared, Race, RunSpec
from app.core import errors, ids
from app.core.status import Status
from app.core.version import code_version
from app.datasets import service as datasets
from app.db.paging import Page
from app.db.session import now
from app.db.tables import DatasetRow, JobRow, Metric
from app.jobs import planning, repository, sources
from app.jobs.planning import Plan, Request
from app.jobs.repository import StoredJob
from app.jobs.sources import Source
from app.methods.base import Method
from app.methods.registry import parse as parse_method
from app.models import service as models
from app.queue import controlled, policy
from app.queue import service as queue
from app.queue.policy import Priority
from app.queue.service import AnyLane

KIND = "run"
MAX_POINTS = 50_000


@dataclass(frozen=True)
class RacePlace:
    """The place of a job in a `tournament`: it pauses after this share of its training's steps."""

    tournament: str
    pause_after: float | None


@dataclass(frozen=True)
class Terms:
    """The terms on which a job waits and runs: its `priority` among its owner's, and the seconds that it may run."""

    priority: Priority = "normal"
    max_seconds: float | None = None


def create(
    db: Session,
    owner: str,
    request: Request,
    *,
    name: str | None,
    metadata: dict[str, str],
    entry: RacePlace | None = None,
    terms: Terms = Terms(),  # frozen
) -> StoredJob:
    """A job that a worker is to run, once its checkpoint and datasets are ready.

    Raises:
        Invalid, NotFound, NotReady: see `planning.resolve`.
        Unfit: checkpoint, dataset and method do not fit together.
    """
    plan = planning.resolve(db, owner, request)
    plan.require_fit()
    job = new_row(owner, request, name=name, metadata=metadata)
    job.source_dataset = None if plan.source_dataset is None else plan.source_dataset.id
    job.method = plan.method.document()
    if entry is not None:
        job.tournament, job.pause_after = entry.tournament, entry.pause_after
    job.lineage = _lineage(plan.source, plan.target).dump()
    return line_up(db, job, needs(plan), terms, "run")


def new_row(owner: str, request: Request, *, name: str | None, metadata: dict[str, str]) -> JobRow:
    """A job as its request says; the lineage is yet to be told."""
    return JobRow(
        id=ids.new("job"),
        owner=owner,
        created_at=now(),
        name=name,
        checkpoint=request.checkpoint,
        dataset=request.dataset,
        source_dataset=request.source_dataset,
        method=request.method.document(),
        method_name=request.method.name,
        seed=request.seed,
        user_metadata=metadata,
    )


def line_up(db: Session, job: JobRow, needs: Sequence[str], terms: Terms, lane: AnyLane) -> StoredJob:
    """Store a new job, which starts once all that it `needs` is there."""
    repository.add(db, job)
    task = queue.enqueue(db, id=job.id, kind=KIND, lane=lane, owner=job.owner, needs=needs)
    task.rank, task.max_seconds = policy.RANKS[terms.priority], terms.max_seconds
    db.flush()
    return get(db, job.owner, job.id)


def get(db: Session, owner: str, job_id: str) -> StoredJob:
    """One indexed statement, and three more while it is queued.

    Raises:
        NotFound: the owner has no such job.
    """
    stored = repository.find(db, owner, job_id)
    if stored is None:
        raise errors.NotFound(f"There is no job {job_id}.")
    return _estimated(db, [stored])[0]


def page(
    db: Session,
    owner: str,
    page: Page,
    *,
    statuses: Collection[Status] = (),
    method: str | None = None,
    checkpoint: str | None = None,
    dataset: str | None = None,
) -> list[StoredJob]:
    found = repository.page(
        db, owner, page, kind=KIND, statuses=statuses, method=method, checkpoint=checkpoint, dataset=dataset
    )
    return _estimated(db, found)


def cancel(db: Session, owner: str, job_id: str) -> StoredJob:
    """
    Raises:
        WrongStatus: it has ended.
    """
    get(db, owner, job_id)
    queue.cancel(db, job_id)
    return get(db, owner, job_id)


def pause(db: Session, owner: str, job_id: str) -> StoredJob:
    """
    Raises:
        WrongStatus: it is neither waiting nor running; or it runs, and only has other jobs run.
    """
    task = get(db, owner, job_id).task
    if task.lane == controlled.LANE and task.status == Status.RUNNING:
        raise errors.WrongStatus(f"{job_id} itself runs nothing: pause the jobs of its tournament, or cancel it.")
    queue.pause(db, job_id)
    return get(db, owner, job_id)


def resume(db: Session, owner: str, job_id: str) -> StoredJob:
    """
    Raises:
        WrongStatus: it is not paused.
    """
    get(db, owner, job_id)
    queue.resume(db, job_id)
    return get(db, owner, job_id)


def retry(db: Session, owner: str, job_id: str) -> StoredJob:
    """
    Raises:
        WrongStatus: it has neither failed nor been cancelled.
    """
    get(db, owner, job_id)
    queue.retry(db, job_id)
    return get(db, owner, job_id)


def metrics(
    db: Session, owner: str, job_id: str, *, names: Sequence[str], split: str | None, after_step: int | None
) -> tuple[list[Metric], bool]:
    """Points in the order of their steps, whole steps only, and whether there are more beyond the last."""
    get(db, owner, job_id)
    points = repository.metrics(db, job_id, names=names, split=split, after_step=after_step, limit=MAX_POINTS + 1)
    if len(points) <= MAX_POINTS:
        return points, False
    return [point for point in points if point.step < points[-1].step], True


def counts(db: Session) -> dict[tuple[str, Status], int]:
    """Background tasks that have not ended, by kind and status."""
    return repository.counts(db)


def prepare(db: Session, job_id: str) -> Prepared[RunSpec[Method]]:
    """Tell a worker how to run the job, and record what was open while the checkpoint or a dataset was processing.

    Raises:
        NotFound: it was deleted meanwhile.
        RegraftError: now that all parts are known, they do not fit together.
    """
    job = stored(db, job_id)
    request = Request(
        checkpoint=job.checkpoint,
        dataset=job.dataset,
        source_dataset=job.source_dataset,
        method=parse_method(job.method),
        seed=job.seed,
    )
    plan = planning.resolve(db, job.owner, request)
    plan.require_fit()
    job.method = plan.method.model_dump(mode="json")
    job.lineage = _lineage(plan.source, plan.target).dump()
    return prepared(plan, job.seed, None if job.tournament is None else Race(pause_after=job.pause_after))


def prepared(plan: Plan, seed: int, race: Race | None = None) -> Prepared[RunSpec[Method]]:
    """The order to run a job whose parts are all ready."""
    spec: RunSpec[Method] = RunSpec(
        method=plan.method,
        seed=seed,
        source=plan.source and plan.source.spec,
        target=datasets.spec(plan.target),
        source_dataset=plan.source_dataset and datasets.spec(plan.source_dataset),
        teachers={id_: teacher.spec for id_, teacher in plan.teachers.items()},
        environments={id_: datasets.spec(dataset) for id_, dataset in plan.environments.items()},
        race=race,
    )
    return Prepared(spec, _inputs(plan))


def publish(db: Session, job_id: str, result: RunResult, written: Written) -> str | None:
    """Record what came of the run, and its model (the id) where it made one.

    The caller holds the lease and ends the task in the same transaction.
    """
    job = stored(db, job_id)
    job.method = result.method.document()
    job.evaluation = record.stored(result.evaluation)
    source = sources.find(db, job.owner, job.checkpoint, "checkpoint") if job.checkpoint else None
    job.lineage = _lineage(source, datasets.stored(db, job.dataset)).dump()
    if isinstance(result, QuantizedResult) and job.checkpoint is not None:
        models.quantize(db, job.owner, job.checkpoint, result.quantization, written)
        job.model = job.checkpoint
    elif isinstance(result, AdaptedResult):
        job.model = models.publish(db, job, result, written).id
    return job.model


def stored(db: Session, job_id: str) -> JobRow:
    """The job, whoever owns it: for the worker, whose claim has settled whose it is.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    job = repository.get(db, job_id)
    if job is None:
        raise errors.NotFound(f"There is no job {job_id}.")
    return job


def needs(plan: Plan) -> list[str]:
    """Ids of all that a job reads."""
    parts = [part.id for part in (plan.source, plan.target, plan.source_dataset) if part is not None]
    return list(dict.fromkeys((*parts, *plan.teachers, *plan.environments)))


def _inputs(plan: Plan) -> dict[str, str]:
    """Content addresses by role; all are there, since a task starts only when what it needs is ready."""
    blobs: dict[str, str | None] = {Input.TARGET_PIXELS: plan.target.pixels, Input.TARGET_INDEX: plan.target.index}
    if plan.source is not None:
        blobs[Input.SOURCE_WEIGHTS] = plan.source.weights
    if plan.source_dataset is not None:
        blobs[Input.SOURCE_DATASET_PIXELS] = plan.source_dataset.pixels
        blobs[Input.SOURCE_DATASET_INDEX] = plan.source_dataset.index
    for id_, teacher in plan.teachers.items():
        blobs[roles.teacher_weights(id_)] = teacher.weights
    for id_, dataset in plan.environments.items():
        blobs[roles.environment_pixels(id_)] = dataset.pixels
        blobs[roles.environment_index(id_)] = dataset.index
    return {role: sha256 for role, sha256 in blobs.items() if sha256 is not None}


def _lineage(source: Source | None, target: DatasetRow) -> Lineage:
    return Lineage(
        checkpoint_sha256=None if source is None else source.sha256,
        dataset_sha256=target.sha256,
        code_version=code_version(),
    )


def _estimated(db: Session, found: list[StoredJob]) -> list[StoredJob]:
    """The jobs with the seconds until each that is queued will start."""
    waiting = {one.job.id for one in found if one.position is not None and one.task.lane == "run"}
    if not waiting:
        return found
    starts_in = policy.starts_in(db, "run")
    return [
        one._replace(starts_in_s=starts_in(one.position)) if one.job.id in waiting and one.position is not None else one
        for one in found
    ]
