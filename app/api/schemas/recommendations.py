"""`/v1/recommendations`: what to try on a dataset, before anything is trained."""

import statistics
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from app.api.schemas.common import Fault, Metadata, Name, Object, Shape, Warned
from app.api.schemas.datasets import Columns, LabelList
from app.choosing import service as choosing
from app.choosing.cost import EntryCost, Objective
from app.choosing.forecast import COVERED, MethodName
from app.choosing.labelling import Unlabelled
from app.choosing.report_card import ReportCard
from app.choosing.service import Asked, Recommended, Truth
from app.contract.base import DISTINCT, ObjectId, Seed, StrictModel
from app.contract.recommendation import Contribution, EvidenceScore, Forecast, LabelRule, Predicted
from app.core.status import Status
from app.datasets.samples import StoredSample

IN_LISTS = 5  # entries of each recommendation

Candidates = Annotated[list[ObjectId], Field(min_length=1, max_length=choosing.MOST_CANDIDATES), DISTINCT]
RecommendationStatus = Literal["queued", "sharpening", "ready", "failed"]


class NewRecommendation(StrictModel):
    """The question what to try on `dataset`, whose images have one label each.

    `checkpoints` are ids of checkpoints and models; left out, the 32 newest checkpoints that are ready.  `methods`:
    left out, all that forecasts are made for.  `labels`: how many of a class are seen, by the measurements and by the
    methods: `all` that there are, `none`, or a number.  `images` of the training split are looked at, at most.
    `source_dataset` is what the candidates learned from, where that is one: the gap is measured from it.  `objective`
    is what is ranked by: accuracy, what is gained a second, or, among those as good as the best, the smallest network
    or the features that stay the source's.  What would take longer than `budget_s` is left out.
    """

    dataset: ObjectId
    checkpoints: Candidates | None = None
    methods: Annotated[list[MethodName], Field(min_length=1), DISTINCT] | None = None
    source_dataset: ObjectId | None = None
    labels: Literal["all", "none"] | Annotated[int, Field(ge=1, le=1_000_000)] = "all"
    objective: Objective = "accuracy"
    budget_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    images: Annotated[int, Field(ge=1, le=10_000)] = 1000
    seed: Seed = 0

    @property
    def asked(self) -> Asked:
        labels = {"all": None, "none": 0}.get(self.labels) if isinstance(self.labels, str) else self.labels
        return Asked(
            dataset=self.dataset,
            checkpoints=self.checkpoints,
            methods=self.methods,
            source_dataset=self.source_dataset,
            labels=labels,
            images=self.images,
            seed=self.seed,
            budget_s=self.budget_s,
            objective=self.objective,
        )


class NewRecommendedJob(StrictModel):
    """The entry that is to run, by its rank."""

    rank: Annotated[int, Field(ge=1, le=10_000)]
    name: Name | None = None
    metadata: Metadata = {}


class Cost(Shape):
    """The cost of a choice; null where it is not known."""

    seconds: float | None = None
    memory_bytes: int | None = None


class Entry(Shape):
    """A choice.  `method` is complete: with the checkpoint and the dataset it is a job.

    `evidence` are the terms of the sum that the forecast is, in logits; `reasons` say the heaviest of them in words.
    """

    rank: int
    checkpoint: str | None
    method: dict[str, Any]
    predicted: Predicted
    cost: Cost
    evidence: list[Contribution]
    reasons: list[str]
    warnings: list[Warned]

    @classmethod
    def of(cls, entry: Forecast, method: dict[str, Any], cost: EntryCost) -> Self:
        return cls(
            rank=entry.rank,
            checkpoint=entry.checkpoint,
            method=method,
            predicted=entry.predicted,
            cost=Cost(seconds=cost.seconds, memory_bytes=cost.memory_bytes),
            evidence=entry.evidence,
            reasons=entry.reasons,
            warnings=[Warned(**warned) for warned in entry.warnings],
        )


class Baselines(Shape):
    """Accuracies that every entry is compared with: the best of the checkpoints unchanged, and a network from scratch;
    null where there is none."""

    unchanged: float | None
    scratch: float | None


class CandidateShape(Shape):
    """A checkpoint or model that was asked about.  `scores` are all that was measured of it; `failure` says why nothing
    could be, or why no method fits it."""

    id: str
    name: str | None
    measured: bool
    scores: list[EvidenceScore]
    failure: str | None


class RecommendedJob(Shape):
    """A job that came of a recommendation; `predicted` is its forecast as it was when the entry was submitted."""

    job: str
    checkpoint: str | None
    method: str
    rank: int
    predicted: Predicted | None = None


class Recommendation(Object):
    """Before it is `ready` the entries are those that can be told by now; of a list, each has the first five.

    `abstains`: the data cannot decide among the first ones; `because` says why, and `to_decide` what would.
    """

    object: Literal["recommendation"] = "recommendation"
    status: RecommendationStatus
    error: Fault | None
    dataset: str
    source_dataset: str | None
    narrows: str | None
    candidates: list[CandidateShape]
    methods: list[str] | None
    labels: Literal["all", "none"] | int
    images: int
    seed: int
    objective: Objective
    budget_s: float | None
    entries: list[Entry]
    baselines: Baselines
    label_use: str
    abstains: bool
    because: str | None
    to_decide: dict[str, Any] | None
    jobs: list[RecommendedJob]
    warnings: list[Warned]

    @classmethod
    def of(cls, answer: Recommended, *, most: int | None = None) -> Self:
        row, task, planned, forecasts = answer.recommendation, answer.task, answer.planned, answer.forecasts
        entries = [] if forecasts is None else forecasts.entries[:most]
        labels = row.request["labels"] if planned is None else planned.labels
        return cls(
            id=row.id,
            created_at=row.created_at,
            status=_status(answer),
            error=Fault.of(task),
            dataset=row.dataset,
            source_dataset=row.source_dataset,
            narrows=row.request.get("narrows"),
            candidates=_candidates(answer),
            methods=row.request["methods"],
            labels="all" if labels is None else labels or "none",
            images=row.request["images"],
            seed=row.request["seed"],
            objective=row.request.get("objective", "accuracy"),
            budget_s=row.request["budget_s"],
            entries=[]
            if planned is None
            else [
                Entry.of(
                    e,
                    planned.method(e.checkpoint, e.method),
                    planned.cost(e.checkpoint, e.method, answer.evidence),
                )
                for e in entries
            ],
            baselines=Baselines(
                unchanged=forecasts and forecasts.unchanged,
                scratch=forecasts and forecasts.scratch,
            ),
            label_use=choosing.label_use(answer),
            abstains=forecasts is not None and forecasts.abstains,
            because=forecasts and forecasts.because,
            to_decide=forecasts and forecasts.to_decide,
            jobs=[RecommendedJob(**made) for made in answer.jobs],
            warnings=task.warnings,
        )


class NewLabels(StrictModel):
    """`labels` is the id of a table that names images of the dataset and their labels, or such pairs: see revisions of
    datasets.  `columns` are those of the table.  `labels_per_class` says how many of a class are seen then, of those
    that were there and these: left out, all."""

    labels: LabelList
    columns: Columns | None = None
    labels_per_class: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class ImageToLabel(Shape):
    """An image that is worth a label.  `id` is that of its sample, `name` that of its file, null where it came in an
    array; `image` is a thumbnail, a PNG as a data URI."""

    id: str
    name: str | None
    image: str

    @classmethod
    def of(cls, sample: StoredSample) -> Self:
        return cls(id=f"sample_{sample.row}", name=sample.name, image=sample.image)


class ToLabelShape(Shape):
    """The images to label next, the first worth most.

    `rule`: `coreset`, each unlike all that have a label or stand before it, while there are few labels; `margin`, those
    that a regression is least sure of, once there are many; by features of `checkpoint`.  Both are null where every
    label was read, or nothing could be measured.
    """

    SIDE: ClassVar[int] = 96  # pixels

    object: Literal["to_label"] = "to_label"
    recommendation: str
    dataset: str
    checkpoint: str | None
    rule: LabelRule | None
    images: list[ImageToLabel]

    @classmethod
    def of(cls, recommendation: str, found: Unlabelled, images: list[StoredSample]) -> Self:
        return cls(
            recommendation=recommendation,
            dataset=found.dataset.id,
            checkpoint=found.ranked and found.ranked.checkpoint,
            rule=found.ranked and found.ranked.rule,
            images=[ImageToLabel.of(image) for image in images],
        )


class LabelStudioData(Shape):
    """The data of a task: a picture, and by what the image goes here."""

    image: str
    sample: str
    name: str | None


class LabelStudioTask(Shape):
    """A task of Label Studio: an image to classify."""

    SIDE: ClassVar[int] = 384  # pixels

    data: LabelStudioData

    @classmethod
    def of(cls, sample: StoredSample) -> Self:
        return cls(data=LabelStudioData(image=sample.image, sample=f"sample_{sample.row}", name=sample.name))


class OutcomeEntry(Shape):
    """A forecast, and the truth: the accuracy on the target's test images that `job` came to, null where none has
    finished.  `inside` tells whether it lies within the forecast's interval."""

    rank: int
    checkpoint: str | None
    method: dict[str, Any]
    predicted: Predicted
    job: str | None
    accuracy: float | None
    inside: bool | None


class Outcome(Shape):
    """Forecasts beside what finished jobs made of the same; `known` entries have a job, of `inside` the truth lies in
    the interval."""

    object: Literal["outcome"] = "outcome"
    recommendation: str
    entries: list[OutcomeEntry]
    known: int
    inside: int

    @classmethod
    def of(cls, answer: Recommended, truths: list[Truth]) -> Self:
        entries = [_outcome(answer, truth) for truth in truths]
        return cls(
            recommendation=answer.recommendation.id,
            entries=entries,
            known=sum(entry.accuracy is not None for entry in entries),
            inside=sum(entry.inside is True for entry in entries),
        )


class MethodCalibration(Shape):
    """A method's forecasts beside the truth, see `CalibrationReport`."""

    method: str
    jobs: int
    inside: int
    mean_error: float


class CalibrationReport(Shape):
    """Forecasts of entries that were submitted, as they were then, beside what their jobs came to: the newest.

    `coverage` is the share of `jobs` whose accuracy was inside the forecast's interval, of which `expected` should be.
    Errors are the truth less the forecast, of accuracies.  `regret` is how much better the best of a recommendation's
    jobs was than the job of its first entry, in the mean over the `compared` recommendations that have both.  All are
    null where there is nothing yet to tell from.
    """

    object: Literal["calibration"] = "calibration"
    jobs: int
    inside: int
    coverage: float | None
    expected: float
    mean_error: float | None
    mean_absolute_error: float | None
    compared: int
    regret: float | None
    methods: list[MethodCalibration]

    @classmethod
    def of(cls, card: ReportCard) -> Self:
        kept = card.kept
        by_method = {name: [one for one in kept if one.method == name] for name in sorted({one.method for one in kept})}
        return cls(
            jobs=len(kept),
            inside=sum(one.inside for one in kept),
            coverage=_mean([one.inside for one in kept]),
            expected=COVERED[1] - COVERED[0],
            mean_error=_mean([one.error for one in kept]),
            mean_absolute_error=_mean([abs(one.error) for one in kept]),
            compared=len(card.regrets),
            regret=_mean(card.regrets),
            methods=[
                MethodCalibration(
                    method=name,
                    jobs=len(of),
                    inside=sum(one.inside for one in of),
                    mean_error=statistics.fmean(one.error for one in of),
                )
                for name, of in by_method.items()
            ],
        )


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _status(answer: Recommended) -> RecommendationStatus:
    match Status(answer.task.status):
        case Status.SUCCEEDED:
            return "ready"
        case Status.FAILED | Status.CANCELLED:
            return "failed"
    return "sharpening" if answer.evidence else "queued"


def _candidates(answer: Recommended) -> list[CandidateShape]:
    if answer.planned is None:
        return [
            CandidateShape(id=id_, name=None, measured=False, scores=[], failure=None)
            for id_ in answer.recommendation.request["checkpoints"]
        ]
    shapes = []
    for candidate in answer.planned.candidates:
        evidence = answer.evidence.get(candidate.id)
        failure = (None if candidate.methods else candidate.reason) or (evidence and evidence.failure)
        measured = evidence is not None and evidence.failure is None
        scores = evidence.scores if evidence else []
        shapes.append(
            CandidateShape(id=candidate.id, name=candidate.name, measured=measured, scores=scores, failure=failure)
        )
    return shapes


def _outcome(answer: Recommended, truth: Truth) -> OutcomeEntry:
    entry = truth.forecast
    assert answer.planned is not None
    return OutcomeEntry(
        rank=entry.rank,
        checkpoint=entry.checkpoint,
        method=answer.planned.method(entry.checkpoint, entry.method),
        predicted=entry.predicted,
        job=truth.job and truth.job.id,
        accuracy=truth.accuracy,
        inside=truth.inside,
    )
