"""The shortlist of an `auto` job: which candidates race, of those that are forecast and of those that no forecast knows
but validation labels can judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.choosing import cost
from app.choosing.candidates import Eligible
from app.choosing.service import Recommended
from app.core import errors
from app.db.tables import DatasetRow, JobRow
from app.jobs import planning, rehearsals
from app.methods.auto import Auto
from app.methods.registry import parse
from app.tournaments import racing
from app.tournaments.field import Entrant

USUAL = ("fine_tune", "linear_probe")  # where labels are too few for a forecast
UNFORESEEN = ("shot", "adabn")  # use the images alone, and the source's head
ON_REST = "fixmatch"  # uses the images whose labels are beyond the limit


@dataclass(frozen=True)
class Offer:
    """A candidate, and the seconds that it is thought to take, None where nobody knows."""

    entrant: Entrant
    seconds: float | None


@dataclass(frozen=True)
class Shortlist:
    """The candidates that race; `said` in words, `data` in figures, and what to warn of, as `queue.tell` takes it."""

    entrants: list[Entrant]
    said: str
    data: Mapping[str, object]
    warnings: list[dict[str, Any]]


def make(db: Session, job: JobRow, target: DatasetRow, answer: Recommended, method: Auto) -> Shortlist:
    """The first candidates of the recommendation, and the unforeseen ones after its first, as many as the method's
    `max_jobs` and `budget_s` allow: the first in any case, if need be for fewer epochs, and of the others those that
    fit into the budget, alone and together.

    Raises:
        Unfit: nothing fits the dataset.
    """
    offering = _Offering(db, job, target, answer, method)
    offers = list(offering.forecast()) or list(offering.usual())
    if not offers:
        raise errors.Unfit("No method fits the dataset on any of the checkpoints.", param="dataset")
    offers[1:1] = offering.unforeseen(offers[0])
    scratch = next((offer.seconds for offer in offers if offer.entrant.checkpoint is None), None) or 0.0
    chosen = _within(offers, method, scratch)
    seconds = race_seconds(chosen, scratch)
    entrants = [offer.entrant for offer in chosen]
    warnings: list[dict[str, Any]] = []
    if method.budget_s is not None and seconds > method.budget_s:
        entrants, warnings = _shortened(entrants[0], method.budget_s / seconds, method.budget_s)
    takes = f", in about {seconds:,.0f} s" if seconds else ""
    return Shortlist(
        entrants,
        f"{len(entrants)} of {len(offers)} candidates race{takes}.",
        {"candidates": len(entrants), "of": len(offers), "seconds": seconds, "budget_s": method.budget_s},
        warnings,
    )


def _within(offers: Sequence[Offer], method: Auto, scratch: float) -> Sequence[Offer]:
    if method.budget_s is None:
        return offers[: method.max_jobs]
    fitting = [offer for offer in offers[1:] if (offer.seconds or 0.0) <= method.budget_s]
    chosen = [offers[0], *fitting][: method.max_jobs]
    while len(chosen) > 1 and race_seconds(chosen, scratch) > method.budget_s:
        chosen = chosen[:-1]
    return chosen


def race_seconds(chosen: Sequence[Offer], scratch: float) -> float:
    """Seconds that a race is thought to take: of each the way to the first rung, of the dearest third that to the
    second, and of the dearest the rest; a network from scratch races in any case, and takes `scratch` alone."""
    each = [offer.seconds or 0.0 for offer in chosen]
    if all(offer.entrant.checkpoint is not None for offer in chosen):
        each.append(scratch)
    each.sort(reverse=True)
    first, second = racing.RUNGS
    third = each[: -(-len(each) // 3)]
    return first * sum(each) + (second - first) * sum(third) + (1 - second) * each[0]


@dataclass(frozen=True)
class _Offering:
    """Candidates for an `auto` job on its target, by what the recommendation has planned and measured."""

    db: Session
    job: JobRow
    target: DatasetRow
    answer: Recommended
    method: Auto

    def forecast(self) -> Iterator[Offer]:
        """The entries of the recommendation, by rank."""
        planned, forecasts = self.answer.planned, self.answer.forecasts
        for entry in () if planned is None or forecasts is None else forecasts.entries:
            assert planned is not None
            method = parse(planned.method(entry.checkpoint, entry.method))
            source_dataset = None if entry.checkpoint is None else self.job.source_dataset
            seconds = planned.cost(entry.checkpoint, entry.method, self.answer.evidence).seconds
            yield Offer(Entrant(entry.checkpoint, method, source_dataset), seconds)

    def usual(self) -> Iterator[Offer]:
        for candidate in self.candidates:
            for name in USUAL:
                yield from self._fitting(candidate, self._open(name))

    def unforeseen(self, first: Offer) -> list[Offer]:
        """Candidates of the first one's checkpoint, or else of the first that knows the classes."""
        found: list[Offer] = []
        ordered = sorted(self.candidates, key=lambda one: one.id != first.entrant.checkpoint)  # stable
        for candidate in [one for one in ordered if one.knows_classes][:1]:
            for name in UNFORESEEN:
                found += self._fitting(candidate, {"name": name})
        for candidate in ordered[:1] if self._rest() else ():
            found += self._fitting(candidate, self._open(ON_REST))
        return found

    @property
    def candidates(self) -> Sequence[Eligible]:
        return () if self.answer.planned is None else self.answer.planned.candidates

    def _fitting(self, candidate: Eligible, document: dict[str, object]) -> list[Offer]:
        """The candidate with a method, where that fits."""
        db, owner, source_dataset = self.db, self.job.owner, self.job.source_dataset
        source = planning.find_source(db, owner, candidate.id, "checkpoint")
        images = planning.find_source_dataset(db, owner, source_dataset, source)
        try:
            plan = planning.fit(db, parse(document), source, self.target, images)
            plan.require_fit()
        except errors.RegraftError:
            return []
        measured = self.answer.evidence.get(candidate.id)
        work = cost.work(plan, rehearsals.known(db, owner, plan))
        seconds = work.seconds(None if measured is None else measured.image_seconds)
        return [Offer(Entrant(candidate.id, plan.method, source_dataset), seconds)]

    def _open(self, name: str) -> dict[str, object]:
        limit = self.method.labels_per_class
        return {"name": name} if limit is None else {"name": name, "labels_per_class": limit}

    def _rest(self) -> bool:
        """Tell whether most of the training images are beyond the limit of labels."""
        limit, splits = self.method.labels_per_class, self.target.splits
        if limit is None or splits is None:
            return False
        images: int = splits["train"]
        return 2 * limit * len(self.target.classes or ()) < images


def _shortened(entrant: Entrant, share: float, budget_s: float) -> tuple[list[Entrant], list[dict[str, Any]]]:
    """The one candidate that is left, of fewer epochs: even it would take longer than the budget."""
    method = entrant.method
    epochs = getattr(method, "epochs", None)
    if not isinstance(epochs, int):
        return [entrant], []
    fewer = max(1, int(epochs * share))
    message = f"`{method.name}` is to train for {fewer} of its {epochs} epochs: more would not fit into {budget_s:g} s."
    warning = {"level": "warning", "type": "shortened", "message": message, "data": {}}
    shorter = parse(method.document() | {"epochs": fewer})
    return [Entrant(entrant.checkpoint, shorter, entrant.source_dataset)], [warning]
