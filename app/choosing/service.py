"""The rules of recommendations: asked for, measured by a worker, forecast, compared with the jobs that came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.choosing import candidates, cost, repository
from app.choosing.candidates import PastJob, PastJobs, Planned, StoredLevel, StoredStanding
from app.choosing.cost import EntryCost, Objective, Wish
from app.choosing.forecast import LEARNING, forecast, logit
from app.choosing.history import Finished, standings
from app.choosing.repository import StoredRecommendation
from app.contract import blobs as roles
from app.contract.blobs import Input, Written
from app.contract.recommendation import (
    EVIDENCE_EDITION,
    Evidence,
    Forecast,
    Forecasts,
    Measurements,
    RecommendationSpec,
    ToLabel,
)
from app.contract.record import Record
from app.contract.specs import Prepared
from app.core import errors, ids
from app.core.status import Readiness
from app.datasets import service as datasets
from app.db.paging import Page
from app.db.session import now
from app.db.tables import DatasetRow, JobRow, RecommendationRow, Task, Warned
from app.jobs import planning
from app.jobs import service as jobs
from app.jobs.planning import Request
from app.jobs.repository import StoredJob
from app.jobs.sources import Source
from app.methods.registry import parse
from app.queue import service as queue
from app.queue.policy import QUESTION

KIND = "recommend"
MOST_CANDIDATES = 32
ASKED = ("images", "labels", "seed")  # of a request: what evidence depends on beside its dataset
SAME = ("labels_per_class", "train_size", "network")  # of a method: what learned from other labels proves nothing


@dataclass(frozen=True)
class Asked:
    """The question of a recommendation.  None is all: the ready checkpoints, the methods of which there are forecasts,
    the labels; `labels` are a class, 0 is none.  `narrows` is the recommendation that it asks
    again, with more labels."""

    dataset: str
    checkpoints: Sequence[str] | None
    methods: Sequence[str] | None
    source_dataset: str | None
    labels: int | None
    images: int
    seed: int
    budget_s: float | None
    objective: Objective = "accuracy"
    narrows: str | None = None


class Recommended(NamedTuple):
    """A recommendation, its task, and the answer as far as it is known: `forecasts` is None before the parts are ready,
    `evidence` what was measured so far, by candidate; `jobs` came of it and are still there."""

    recommendation: RecommendationRow
    task: Task
    planned: Planned | None
    evidence: Mapping[str, Evidence]
    forecasts: Forecasts | None
    jobs: Sequence[Mapping[str, Any]]


class StoredAnswer(Record):
    """A complete answer, as it is stored."""

    evidence: list[Evidence]
    forecasts: Forecasts
    to_label: ToLabel | None = None


class Truth(NamedTuple):
    """A forecast beside the job that ran what it is about, None where there is none that has finished."""

    forecast: Forecast
    job: JobRow | None

    @property
    def accuracy(self) -> float | None:
        return None if self.job is None or self.job.evaluation is None else self.job.evaluation["target"]["accuracy"]

    @property
    def inside(self) -> bool | None:
        """Tell whether the truth is within the forecast's interval."""
        low, high = self.forecast.predicted.interval
        return None if self.accuracy is None else low <= self.accuracy <= high


def create(db: Session, owner: str, asked: Asked) -> Recommended:
    """Ask what to try on a dataset; a worker measures the candidates once all parts are ready.

    Raises:
        NotFound: the owner has no such dataset, checkpoint or model.
        NotReady: the ingest of one of them has failed.
        Unfit: there is no checkpoint to choose from, or nothing fits the dataset.
    """
    target = planning.find_dataset(db, owner, asked.dataset, "dataset")
    if asked.source_dataset is not None:
        planning.find_dataset(db, owner, asked.source_dataset, "source_dataset")
    candidates.require_images(target, asked.labels)
    ids_, warnings = _candidates(db, owner, asked)
    sources = [planning.find_source(db, owner, id_, "checkpoints") for id_ in ids_]
    row = RecommendationRow(
        id=ids.new("rec"),
        owner=owner,
        created_at=now(),
        dataset=asked.dataset,
        source_dataset=asked.source_dataset,
        request={
            "checkpoints": ids_,
            "methods": None if asked.methods is None else list(asked.methods),
            "labels": asked.labels,
            "images": asked.images,
            "seed": asked.seed,
            "budget_s": asked.budget_s,
            "objective": asked.objective,
            "narrows": asked.narrows,
        },
        jobs=[],
    )
    if _ready(db, row, target, sources):
        warnings += _plan(db, row, target, sources)
    repository.add(db, row)
    needs = dict.fromkeys((row.dataset, *([row.source_dataset] if row.source_dataset else ()), *ids_))
    task = queue.enqueue(db, id=row.id, kind=KIND, lane="run", owner=owner, needs=list(needs), warnings=warnings)
    task.rank = QUESTION
    db.flush()
    return get(db, owner, row.id)


def get(db: Session, owner: str, recommendation_id: str) -> Recommended:
    """
    Raises:
        NotFound: the owner has no such recommendation.
    """
    return _answers(db, [_find(db, owner, recommendation_id)])[0]


def find(db: Session, owner: str, recommendation_id: str) -> StoredRecommendation:
    """The recommendation without its answer.

    Raises:
        NotFound: the owner has no such recommendation.
    """
    return _find(db, owner, recommendation_id)


def page(db: Session, owner: str, page: Page) -> list[Recommended]:
    return _answers(db, repository.page(db, owner, page))


def submit(
    db: Session, owner: str, recommendation_id: str, rank: int, *, name: str | None, metadata: dict[str, str]
) -> StoredJob:
    """Submit the entry of this rank as a job, which is written down beside the recommendation.

    Raises:
        NotFound: the owner has no such recommendation.
        NotReady: it is still sharpening, so that another entry may have the rank by now.
        Invalid: it has no entry of this rank.
        NotFound, NotReady, Unfit: see `jobs.create`.
    """
    _find(db, owner, recommendation_id, hold=True)
    repository.lock(db, recommendation_id)
    answer = get(db, owner, recommendation_id)
    if answer.recommendation.result is None:
        message = "Its ranks may still change: wait until it is ready, or submit a job with the entry's method."
        raise errors.NotReady(message, param="rank")
    entry = _entry(answer, rank)
    assert answer.planned is not None
    request = Request(
        checkpoint=entry.checkpoint,
        dataset=answer.recommendation.dataset,
        source_dataset=None if entry.checkpoint is None else answer.recommendation.source_dataset,
        method=parse(answer.planned.method(entry.checkpoint, entry.method)),
        seed=answer.recommendation.request["seed"],
    )
    job = jobs.create(db, owner, request, name=name, metadata=metadata)
    made = {
        "job": job.job.id,
        "rank": rank,
        "checkpoint": entry.checkpoint,
        "method": entry.method,
        "predicted": entry.predicted.document(),
    }
    answer.recommendation.jobs = [*answer.recommendation.jobs, made]
    db.flush()
    return job


def outcome(db: Session, owner: str, recommendation_id: str) -> tuple[Recommended, list[Truth]]:
    """Every forecast beside what a job made of the same: one that came of the recommendation first, else the newest of
    the same checkpoint, dataset, method and labels.

    Raises:
        NotFound: the owner has no such recommendation.
    """
    answer = get(db, owner, recommendation_id)
    row, planned, forecasts = answer.recommendation, answer.planned, answer.forecasts
    if planned is None or forecasts is None:
        return answer, []
    ran = repository.finished_jobs(db, row, row.request["checkpoints"])
    own = {made["job"] for made in row.jobs}
    ran.sort(key=lambda job: job.id not in own)  # stable: the newest first among each
    return answer, [Truth(entry, _truth(planned, entry, ran)) for entry in forecasts.entries]


def label_use(answer: Recommended) -> str:
    """Say what of the target's labels the measurements have read."""
    measured = [part.n for one in answer.evidence.values() for part in (one.probe, one.unchanged) if part is not None]
    if not measured:
        return "none of the target's"
    return f"{max(measured)} training labels of the target; neither its validation nor its test labels were read"


def prepare(db: Session, recommendation_id: str) -> Prepared[RecommendationSpec]:
    """Tell a worker what to measure, and plan what was open while a checkpoint or a dataset was processing.

    Raises:
        NotFound: it was deleted meanwhile.
        RegraftError: now that all parts are known, they do not fit together.
    """
    row = _stored(db, recommendation_id)
    target = datasets.stored(db, row.dataset)
    sources = [planning.find_source(db, row.owner, id_, "checkpoints") for id_ in row.request["checkpoints"]]
    if row.planned is None:
        warnings = _plan(db, row, target, sources)
        queue.tell(db, db.get_one(Task, recommendation_id), [_told(warned) for warned in warnings])
    known = None if row.source_dataset is None else datasets.stored(db, row.source_dataset)
    spec = RecommendationSpec(
        images=row.request["images"],
        seed=row.request["seed"],
        labels=Planned.load(row.planned or {}).labels,
        candidates={source.id: source.spec for source in sources},
        target=datasets.spec(target),
        source_dataset=None if known is None else datasets.spec(known),
        known=_known(db, row),
    )
    return Prepared(spec, _inputs(target, known, sources))


def publish(db: Session, recommendation_id: str, result: Measurements, written: Written) -> None:
    """Record what was measured, and what is forecast of it: forecasts stay as they were made.

    The caller holds the lease and ends the task in the same transaction.
    """
    row = _stored(db, recommendation_id)
    planned = Planned.load(row.planned or {})
    forecasts, late = _forecasts(row, planned, result.evidence)
    warnings = cost.left_out(late, row.request["budget_s"])
    queue.tell(db, db.get_one(Task, recommendation_id), [_told(warned) for warned in warnings])
    row.result = StoredAnswer(evidence=result.evidence, forecasts=forecasts, to_label=result.to_label).dump()


def _known(db: Session, row: RecommendationRow) -> list[Evidence]:
    """Evidence that the owner's earlier recommendations have on the same question: the newest of each candidate."""
    found: dict[str, Evidence] = {}
    for result in repository.same_question(db, row, ASKED):
        for one in StoredAnswer.load(result).evidence:
            if one.checkpoint in row.request["checkpoints"] and one.failure is None and one.edition == EVIDENCE_EDITION:
                found.setdefault(one.checkpoint, one)
    return list(found.values())


def _candidates(db: Session, owner: str, asked: Asked) -> tuple[list[str], list[Warned]]:
    """Ids, and warnings."""
    warnings: list[Warned] = []
    if asked.checkpoints is not None:
        return list(dict.fromkeys(asked.checkpoints)), warnings
    newest, count = repository.ready_checkpoints(db, owner, MOST_CANDIDATES)
    if not newest:
        raise errors.Unfit("There is no ready checkpoint to choose from: make one first.", param="checkpoints")
    if count > len(newest):
        message = f"Of {count} ready checkpoints the newest {len(newest)} are candidates: name others in `checkpoints`."
        warnings.append({"code": "candidates_left_out", "message": message})
    return newest, warnings


def _ready(db: Session, row: RecommendationRow, target: DatasetRow, sources: Sequence[Source]) -> bool:
    source_dataset = None if row.source_dataset is None else datasets.stored(db, row.source_dataset)
    there = target.splits is not None and (source_dataset is None or source_dataset.splits is not None)
    return there and all(source.readiness is Readiness.READY for source in sources)


def _plan(db: Session, row: RecommendationRow, target: DatasetRow, sources: Sequence[Source]) -> list[Warned]:
    """Write down what fits; gives warnings."""
    planned = candidates.plan(
        db,
        candidates.Parts(row.owner, target, sources, row.source_dataset),
        methods=row.request["methods"],
        labels=row.request["labels"],
        names=repository.names(db, [source.id for source in sources]),
        history=_history(db, row.owner, target, sources),
    )
    row.planned = planned.dump()
    return candidates.warnings(planned, named=row.request["methods"] is not None)


def _history(db: Session, owner: str, target: DatasetRow, sources: Sequence[Source]) -> PastJobs:
    """Read what the owner's finished jobs tell.

    Those on the target's own images, and its revisions', are left out: their test images are those whose accuracy is
    asked for.
    """
    finished = [
        Finished(
            target=past.pixels,
            method=past.job.method_name,
            checkpoint=past.weights or past.job.checkpoint or "",
            accuracy=past.job.evaluation["target"]["accuracy"],
            n=past.job.evaluation["target"]["n"],
            labels=str([past.job.method.get(key) for key in SAME]),
        )
        for past in repository.comparable(db, owner, LEARNING)
        if past.job.evaluation is not None and past.pixels != target.pixels
    ]
    past = standings(finished)
    stood = {source.id: past.checkpoints.get(source.weights or source.id) for source in sources}
    return PastJobs(
        methods=_residuals(db, owner, target),
        standings={id_: StoredStanding(**one._asdict()) for id_, one in stood.items() if one is not None},
        levels={name: StoredLevel(**one._asdict()) for name, one in past.methods.items()},
    )


def _residuals(db: Session, owner: str, target: DatasetRow) -> list[PastJob]:
    """Jobs that came of earlier recommendations, with how far they were above the regression that was measured then."""
    found = []
    for past, pixels in repository.answered(db, owner):
        if pixels == target.pixels:
            continue
        probes = {one.checkpoint: one.probe for one in StoredAnswer.load(past.result or {}).evidence if one.probe}
        best = max(probes.values(), key=lambda probe: probe.accuracy, default=None)  # what scratch is compared with
        for job in repository.evaluated(db, [made["job"] for made in past.jobs]):
            probe = best if job.checkpoint is None else probes.get(job.checkpoint)
            if probe is not None and job.evaluation is not None:
                measured = job.evaluation["target"]
                residual = logit(measured["accuracy"], measured["n"]) - logit(probe.accuracy, probe.n)
                found.append(PastJob(method=job.method_name, residual=residual))
    return found


def _forecasts(
    row: RecommendationRow, planned: Planned, evidence: Sequence[Evidence]
) -> tuple[Forecasts, list[tuple[Forecast, EntryCost]]]:
    """The forecasts as they were wished for, and the entries that are left out."""
    wish = Wish(row.request.get("objective", "accuracy"), row.request["budget_s"], planned.chance)
    measured = {one.checkpoint: one for one in evidence}
    return wish.heed(
        forecast(planned.question, evidence), lambda entry: planned.cost(entry.checkpoint, entry.method, measured)
    )


def _told(warned: Warned) -> dict[str, Any]:
    return {"level": "warning", "type": warned["code"], "message": warned["message"], "data": {}}


def _answers(db: Session, found: Sequence[StoredRecommendation]) -> list[Recommended]:
    under_way = [row.id for row, _ in found if row.result is None]
    events = repository.evidence(db, under_way)
    there = repository.there(db, [made["job"] for row, _ in found for made in row.jobs])
    answers = []
    for row, task in found:
        planned = None if row.planned is None else Planned.load(row.planned)
        if row.result is not None:
            result = StoredAnswer.load(row.result)
            evidence = result.evidence
            forecasts: Forecasts | None = result.forecasts
        else:
            evidence = [Evidence.load(event.data) for event in events.get(row.id, ())]
            forecasts = None if planned is None else _forecasts(row, planned, evidence)[0]
        by_candidate = {one.checkpoint: one for one in evidence}
        came_of_it = [made for made in row.jobs if made["job"] in there]
        answers.append(Recommended(row, task, planned, by_candidate, forecasts, came_of_it))
    return answers


def _entry(answer: Recommended, rank: int) -> Forecast:
    entries = () if answer.forecasts is None else answer.forecasts.entries
    found = next((entry for entry in entries if entry.rank == rank), None)
    if found is None:
        many = f"ranks 1 to {len(entries)}" if entries else "no entries"
        raise errors.Invalid(f"There is no entry of rank {rank}: {answer.recommendation.id} has {many}.", param="rank")
    return found


def _truth(planned: Planned, entry: Forecast, ran: Sequence[JobRow]) -> JobRow | None:
    document = planned.method(entry.checkpoint, entry.method)
    same = (job for job in ran if (job.checkpoint, job.method_name) == (entry.checkpoint, entry.method))
    return next((job for job in same if all(job.method.get(key) == document.get(key) for key in SAME)), None)


def _inputs(target: DatasetRow, known: DatasetRow | None, sources: Sequence[Source]) -> dict[str, str]:
    """Content addresses by role; all are there, since a task starts only when what it needs is ready."""
    blobs = {Input.TARGET_PIXELS: target.pixels, Input.TARGET_INDEX: target.index}
    if known is not None:
        blobs |= {Input.SOURCE_DATASET_PIXELS: known.pixels, Input.SOURCE_DATASET_INDEX: known.index}
    weights = {roles.teacher_weights(source.id): source.weights for source in sources}
    return {str(role): sha256 for role, sha256 in (blobs | weights).items() if sha256 is not None}


def _find(db: Session, owner: str, recommendation_id: str, *, hold: bool = False) -> StoredRecommendation:
    stored = repository.find(db, owner, recommendation_id, hold=hold)
    if stored is None:
        raise errors.NotFound(f"There is no recommendation {recommendation_id}.")
    return stored


def _stored(db: Session, recommendation_id: str) -> RecommendationRow:
    row = repository.get(db, recommendation_id)
    if row is None:
        raise errors.NotFound(f"There is no recommendation {recommendation_id}.")
    return row
