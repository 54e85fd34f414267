"""`/v1/tournaments`: jobs that race on a dataset until one has won."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from app.api.schemas.common import Fault, Metadata, Name, Object, Shape, Warned
from app.contract.base import ObjectId, Seed, StrictModel
from app.contract.sweep import Drawn
from app.contract.tournament import Baseline, Racer
from app.core.status import Status
from app.methods.registry import AnyMethod
from app.tournaments import field
from app.tournaments.field import Entrant
from app.tournaments.repository import Candidacy
from app.tournaments.service import RaceView, TournamentRequest

CandidateState = Literal["queued", "running", "paused", "eliminated", "finished", "failed", "cancelled"]


class NewCandidate(StrictModel):
    """A candidate: with the tournament's dataset it is a job."""

    checkpoint: ObjectId | None = None
    method: AnyMethod
    source_dataset: ObjectId | None = None


class NewTournament(StrictModel):
    """A race on `dataset`, which is ready and has labelled validation images.

    `candidates` are given, no two the same and each by a method that makes a network for the dataset's classes; or they
    are those of a recommendation: of `recommendation`, or of the newest for the dataset.  Every checkpoint unchanged
    that knows the dataset's classes, and a network from scratch, always race, too.  There are `max_jobs` candidates at
    most, with these.  `budget_s`: after each rung only as many go on as the seconds that are left suffice for, by what
    each has taken so far, but one at least.  All have the same `seed`.
    """

    dataset: ObjectId
    candidates: Literal["recommended"] | Annotated[list[NewCandidate], Field(min_length=1, max_length=field.MOST)]
    recommendation: ObjectId | None = None
    max_jobs: Annotated[int, Field(ge=1, le=field.MOST)] | None = None
    budget_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    seed: Seed = 0
    name: Name | None = None
    metadata: Metadata = {}

    @property
    def request(self) -> TournamentRequest:
        given = None if isinstance(self.candidates, str) else self.candidates
        return TournamentRequest(
            dataset=self.dataset,
            candidates=None
            if given is None
            else [Entrant(c.checkpoint, c.method, c.source_dataset, place=i) for i, c in enumerate(given)],
            recommendation=self.recommendation,
            max_jobs=self.max_jobs,
            budget_s=self.budget_s,
            seed=self.seed,
        )


class ScoreShape(Shape):
    """The accuracy on the target's validation images after a `share` of a candidate's training, with its 95 %
    interval."""

    share: float
    step: int
    total_steps: int
    accuracy: float
    interval: tuple[float, float]
    n: int
    seconds: float


class Standing(Shape):
    """A candidate's place.  `number` is its own, `rank` that on the leaderboard; `job` is an ordinary one, gone where
    it was deleted, and null where what a sweep has drawn fits no job.

    `baseline`: it races whether it was asked for or not.  `rung` is how many it has passed.  `accuracy` is that of the
    newest of its `scores`.  `tied`: it came to its end and is not clearly worse than the first.  `reason` says why it
    races no more.
    """

    rank: int
    number: int
    job: str | None
    status: CandidateState
    checkpoint: str | None
    source_dataset: str | None
    method: dict[str, Any]
    baseline: Baseline | None
    rung: int
    accuracy: float | None
    interval: tuple[float, float] | None
    tied: bool
    scores: list[ScoreShape]
    model: str | None
    reason: str | None
    drawn: dict[str, Drawn]


class Winner(Shape):
    """The candidate that was right on the most validation images; `model` is null where it is a checkpoint
    unchanged."""

    number: int
    job: str
    checkpoint: str | None
    model: str | None


class Tournament(Object):
    """`status` is `running` until there is a `winner`, `because` says why it won.  `candidates` are the leaderboard:
    those that came to their end, those that race, those that were left behind.

    `rungs` are the shares of its training after which a candidate pauses, to be compared with the others."""

    object: Literal["tournament"] = "tournament"
    name: str | None
    status: Status
    error: Fault | None
    dataset: str
    recommendation: str | None
    max_jobs: int | None
    budget_s: float | None
    seed: int
    rungs: list[float]
    seconds: float
    candidates: list[Standing]
    winner: Winner | None
    because: str | None
    label_use: str
    warnings: list[Warned]
    metadata: dict[str, str]

    @classmethod
    def of(cls, race: RaceView) -> Self:
        row, task, standings, _ = race
        return cls(
            id=row.id,
            created_at=row.created_at,
            name=row.name,
            status=task.status,
            error=Fault.of(task),
            dataset=row.dataset,
            recommendation=row.request["recommendation"],
            max_jobs=row.request["max_jobs"],
            budget_s=row.request["budget_s"],
            seed=row.request["seed"],
            rungs=standings.rungs,
            seconds=sum(racer.seconds for racer in standings.racers),
            candidates=leaderboard(race),
            winner=winner(race),
            because=standings.because,
            label_use=label_use(race),
            warnings=task.warnings,
            metadata=row.user_metadata,
        )


def leaderboard(race: RaceView) -> list[Standing]:
    """Candidates, the best first; of those that have come to their end first, then of those that race, then of the
    others, each by how far it came."""
    order = ("finished", "racing", "eliminated", "failed", "cancelled")

    def place(racer: Racer) -> tuple[object, ...]:
        share = racer.last.share if racer.last else 0.0
        first = racer.number != race.standings.winner
        return order.index(racer.status), -share, first, -racer.accuracy, racer.number

    ranked = sorted(race.standings.racers, key=place)
    return [_standing(race, rank, racer) for rank, racer in enumerate(ranked, start=1)]


def winner(race: RaceView) -> Winner | None:
    for racer in race.standings.racers:
        if racer.number == race.standings.winner:
            model = _model(race.jobs, racer)
            return Winner(number=racer.number, job=racer.job, checkpoint=racer.checkpoint, model=model)
    return None


def label_use(race: RaceView) -> str:
    """Say what of the target's labels has decided."""
    most = max((score.n for racer in race.standings.racers for score in racer.scores), default=0)
    if not most:
        return "none of the target's so far"
    return f"{most} validation labels of the target compared the candidates; its test labels decided nothing"


def _standing(race: RaceView, rank: int, racer: Racer) -> Standing:
    return Standing(
        rank=rank,
        number=racer.number,
        job=racer.job or None,
        status=_state(race.jobs, racer),
        checkpoint=racer.checkpoint,
        source_dataset=racer.source_dataset,
        method=racer.method,
        baseline=racer.baseline,
        rung=racer.rung,
        accuracy=None if racer.last is None else racer.last.accuracy,
        interval=None if racer.last is None else racer.last.interval,
        tied=racer.number in race.standings.tied,
        scores=[ScoreShape.model_validate(score) for score in racer.scores],
        model=_model(race.jobs, racer),
        reason=racer.reason,
        drawn=racer.drawn,
    )


def _state(jobs: Mapping[str, Candidacy], racer: Racer) -> CandidateState:
    if racer.status != "racing":
        return racer.status
    match jobs[racer.job].task.status if racer.job in jobs else None:
        case Status.QUEUED:
            return "queued"
        case Status.PAUSED:
            return "paused"
    return "running"


def _model(jobs: Mapping[str, Candidacy], racer: Racer) -> str | None:
    return jobs[racer.job].job.model if racer.job in jobs else None
