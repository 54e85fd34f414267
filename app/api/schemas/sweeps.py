"""`/v1/sweeps`: one job over and over, with parameters that a sampler draws."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from app.api.schemas.common import Fault, Metadata, Name, Object, Warned
from app.api.schemas.jobs import JobSpec
from app.api.schemas.tournaments import Standing, Winner, label_use, leaderboard, winner
from app.contract.base import Seed, StrictModel
from app.contract.sweep import Space
from app.core.status import Status
from app.tournaments.service import RaceView
from app.tournaments.sweeps import SweepRequest

Pruner = Literal["halving", "none"]


class NewSweep(StrictModel):
    """The best parameters for `job`, which fits as it stands, by a method that makes a network for the dataset's
    classes; the dataset is ready and has labelled validation images.

    `space` says which parameters are drawn and from what, by their paths in the job such as `method.learning_rate`: a
    list of values, `{"uniform": [low, high]}`, `{"log": [low, high]}` or `{"integer": [low, high]}`, the smaller number
    first.  The method takes all of them.  `trials` are drawn: a third spread evenly, the others near those that were
    best.  By `halving` a trial pauses after a ninth and a third of its training, and goes on if it is among the best
    third of those that came so far.  `budget_s`: nothing more is drawn once the jobs have taken so long, and after a
    rung only as many go on as the seconds that are left suffice for.  `seed` is the sampler's; all trials have that of
    the job.
    """

    job: JobSpec
    space: Space
    trials: Annotated[int, Field(ge=2, le=200)]
    pruner: Pruner = "halving"
    budget_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    seed: Seed = 0
    name: Name | None = None
    metadata: Metadata = {}

    @property
    def request(self) -> SweepRequest:
        method = self.job.method
        return SweepRequest(
            job=self.job.request,
            terms=self.job.terms,
            method=method.model_dump(mode="json", exclude_unset=True) | {"name": method.name},
            space=self.space,
            trials=self.trials,
            halving=self.pruner == "halving",
            budget_s=self.budget_s,
            seed=self.seed,
        )


class Sweep(Object):
    """`candidates` are the trials that were drawn so far, as in a tournament, each with what was `drawn` for it.  The
    `winner` has the parameters that were right on the most validation images, `because` says how sure that is."""

    object: Literal["sweep"] = "sweep"
    name: str | None
    status: Status
    error: Fault | None
    dataset: str
    checkpoint: str | None
    method: dict[str, Any]
    space: dict[str, Any]
    trials: int
    pruner: Pruner
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
        asked = row.request
        return cls(
            id=row.id,
            created_at=row.created_at,
            name=row.name,
            status=task.status,
            error=Fault.of(task),
            dataset=row.dataset,
            checkpoint=asked["checkpoint"],
            method=asked["method"],
            space=asked["space"],
            trials=asked["trials"],
            pruner="halving" if asked["halving"] else "none",
            budget_s=asked["budget_s"],
            seed=asked["sampler_seed"],
            rungs=standings.rungs,
            seconds=sum(racer.seconds for racer in standings.racers),
            candidates=leaderboard(race),
            winner=winner(race),
            because=standings.because,
            label_use=label_use(race),
            warnings=task.warnings,
            metadata=row.user_metadata,
        )
