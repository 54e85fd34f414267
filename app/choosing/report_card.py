"""The recommender's own report card: forecasts of entries that were submitted, beside what their jobs came to."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.choosing import repository
from app.contract.recommendation import Predicted


class Kept(NamedTuple):
    """A forecast as it was when its entry was submitted, and the accuracy that the job came to."""

    recommendation: str
    method: str
    rank: int
    predicted: Predicted
    accuracy: float

    @property
    def inside(self) -> bool:
        low, high = self.predicted.interval
        return low <= self.accuracy <= high

    @property
    def error(self) -> float:
        return self.accuracy - self.predicted.accuracy


class ReportCard(NamedTuple):
    """The newest forecasts that came true or did not, and `regrets`: of each recommendation of which the first entry
    and another were run, how much better the best of them was."""

    kept: Sequence[Kept]
    regrets: Sequence[float]


def of(db: Session, owner: str) -> ReportCard:
    submitted = [
        (row.id, made) for row, _ in repository.answered(db, owner) for made in row.jobs if "predicted" in made
    ]
    truth = {
        job.id: job.evaluation["target"]["accuracy"]
        for job in repository.evaluated(db, [made["job"] for _, made in submitted])
        if job.evaluation is not None
    }
    kept = {
        (id_, made["rank"]): Kept(
            id_, made["method"], made["rank"], Predicted.model_validate(made["predicted"]), truth[made["job"]]
        )
        for id_, made in reversed(submitted)
        if made["job"] in truth
    }  # an entry that was submitted twice has one seed, and is one proof: the first
    return ReportCard(list(kept.values()), _regrets(list(kept.values())))


def _regrets(kept: Sequence[Kept]) -> list[float]:
    of_each: dict[str, dict[int, float]] = defaultdict(dict)
    for one in kept:
        of_each[one.recommendation][one.rank] = one.accuracy
    return [max(by_rank.values()) - by_rank[1] for by_rank in of_each.values() if 1 in by_rank and len(by_rank) > 1]
