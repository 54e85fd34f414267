"""Tournaments and sweeps, as they are stored: who races, how far each has come, and what was decided."""

from typing import Literal

from app.contract.record import Record
from app.contract.sweep import Drawn
from app.core.intervals import wilson

CandidateStatus = Literal["racing", "eliminated", "finished", "failed", "cancelled"]
Baseline = Literal["unchanged", "scratch"]


class RungScore(Record):
    """`right` of `n` validation images after `step` of `total_steps` of a candidate's training, of which that is the
    `share`; `seconds` were spent for it since the score before."""

    share: float
    step: int
    total_steps: int
    right: int
    n: int
    seconds: float

    @property
    def accuracy(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.n)


class Racer(Record):
    """A candidate and its job.  `baseline`: it races whether it was asked for or not.  `rung` counts from 0 and is the
    one that it is to come to.  `hits` tell of the last score on which images it was right: a bit each, in base 64.
    `reason` says why it races no more.  `drawn` are the parameters that
    a sweep has drawn, by their paths."""

    number: int
    checkpoint: str | None = None
    source_dataset: str | None = None
    method: dict[str, object]
    family: str
    baseline: Baseline | None = None
    job: str
    status: CandidateStatus = "racing"
    rung: int = 0
    scores: list[RungScore] = []
    hits: str = ""
    reason: str | None = None
    drawn: dict[str, Drawn] = {}

    @property
    def last(self) -> RungScore | None:
        return self.scores[-1] if self.scores else None

    @property
    def accuracy(self) -> float:
        return self.scores[-1].accuracy if self.scores else 0.0

    @property
    def seconds(self) -> float:
        return sum(score.seconds for score in self.scores)

    @property
    def labels(self) -> tuple[object, object]:
        """The limits of the labels that it sees: with the same ones two candidates are judged on the same images."""
        return self.method.get("labels_per_class"), self.method.get("train_size")


class Standings(Record):
    """The state of a race.  `rungs` are the shares of its training after which a candidate pauses; `winner` is its
    number, and `tied` those of the finished ones that are not clearly worse."""

    rungs: list[float]
    racers: list[Racer]
    winner: int | None = None
    tied: list[int] = []
    because: str | None = None
