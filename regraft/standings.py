"""Records of tournaments, as the service returns them."""

from typing import Any

from regraft.types import Failure, Metadata, Object, Record, Warned


class CandidateScore(Record):
    """The accuracy on validation images after a `share` of a candidate's training."""

    share: float
    step: int
    total_steps: int
    accuracy: float
    interval: tuple[float, float]
    n: int
    seconds: float


class Standing(Record):
    """A candidate's place on the leaderboard; `reason` says why it races no more."""

    rank: int
    number: int
    job: str | None = None
    status: str
    checkpoint: str | None = None
    source_dataset: str | None = None
    method: dict[str, Any]
    baseline: str | None = None
    rung: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    tied: bool = False
    scores: list[CandidateScore] = []
    model: str | None = None
    reason: str | None = None
    drawn: dict[str, bool | int | float | str | None] = {}


class Winner(Record):
    """The candidate that has won; `model` is null where that is a checkpoint unchanged."""

    number: int
    job: str
    checkpoint: str | None = None
    model: str | None = None


class Race(Object):
    """The fields that tournaments and sweeps share."""

    status: str
    error: Failure | None = None
    name: str | None = None
    dataset: str
    budget_s: float | None = None
    seed: int = 0
    rungs: list[float] = []
    seconds: float = 0.0
    candidates: list[Standing] = []
    winner: Winner | None = None
    because: str | None = None
    label_use: str | None = None
    warnings: list[Warned] = []
    metadata: Metadata = {}

    @property
    def finished(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")


class Tournament(Race):
    recommendation: str | None = None
    max_jobs: int | None = None


class Sweep(Race):
    checkpoint: str | None = None
    method: dict[str, Any] = {}
    space: dict[str, Any] = {}
    trials: int
    pruner: str = "halving"
