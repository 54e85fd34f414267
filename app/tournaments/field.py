"""The field of a tournament: the candidates that were asked for, or recommended, and those that always race."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.choosing import candidates
from app.choosing import service as choosing
from app.choosing.forecast import UNCHANGED
from app.contract.tournament import Baseline
from app.core import errors
from app.core.status import Readiness
from app.db.tables import DatasetRow
from app.jobs import planning
from app.jobs.sources import Source
from app.methods.base import Method
from app.methods.registry import parse
from app.tournaments import repository

MOST = 32  # candidates, with those that always race
RECOMMENDED = 6  # entries of a recommendation that race, where no number of jobs is given


@dataclass(frozen=True)
class Entrant:
    """A candidate that is to race.  `baseline`: it does so whether it was asked for or not.  `place` is that among
    those that were asked for."""

    checkpoint: str | None
    method: Method
    source_dataset: str | None = None
    baseline: Baseline | None = None
    place: int | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return self.checkpoint, self.source_dataset, str(self.method.document())


def require_validation(target: DatasetRow, param: str = "dataset") -> None:
    """
    Raises:
        NotReady: the dataset is still being processed.
        Unfit: it has no labelled validation images, on which candidates are judged.
    """
    if target.splits is None:
        raise errors.NotReady(f"{target.id} is still being processed: wait until it is ready.", param=param)
    if not target.splits["validation"] or not target.labelled or target.only_tests_labelled:
        have = "labelled validation images"
        way = "upload it again with `splits` that leave some to validation, or with labels"
        raise errors.Unfit(f"Candidates are judged on {have}, and {target.id} has none: {way}.", param=param)


def recommended(
    db: Session, owner: str, target: DatasetRow, recommendation: str | None, most: int | None
) -> list[Entrant]:
    """The first entries of a recommendation: of the one that is named, or of the newest for the dataset.

    Raises:
        NotFound: the owner has no such recommendation, or none for the dataset.
        NotReady: it is not ready.
        Unfit: it is about another dataset, or has no entries.
    """
    found = recommendation or repository.newest_recommendation(db, owner, target.id)
    if found is None:
        raise errors.NotFound(f"There is no complete recommendation for {target.id}: ask for one.", param="candidates")
    answer = choosing.get(db, owner, found)
    row, planned, forecasts = answer.recommendation, answer.planned, answer.forecasts
    if row.dataset != target.id:
        raise errors.Unfit(f"{found} is about {row.dataset}, not about {target.id}.", param="recommendation")
    if row.result is None or planned is None or forecasts is None:
        raise errors.NotReady(f"{found} is not ready: wait until it is.", param="recommendation")
    entries = forecasts.entries[: RECOMMENDED if most is None else most]
    if not entries:
        raise errors.Unfit(f"{found} has no entries: {forecasts.because}", param="recommendation")
    return [
        Entrant(
            checkpoint=entry.checkpoint,
            method=parse(planned.method(entry.checkpoint, entry.method)),
            source_dataset=None if entry.checkpoint is None else row.source_dataset,
        )
        for entry in entries
    ]


def complete(db: Session, owner: str, target: DatasetRow, asked: Sequence[Entrant], most: int) -> list[Entrant]:
    """The candidates with those that always race: every source unchanged that knows all classes, and a network from
    scratch; the others first that were asked for first, as far as there is room.

    Raises:
        Invalid: two are the same; or one gives no network whose accuracy could be told.
        NotFound, NotReady: the owner has no such checkpoint or model, or it is still being processed.
    """
    for candidate in asked:
        require_judged(candidate, f"candidates.{candidate.place}.method")
    sources = find_sources(db, owner, asked)
    baselines = [*_unchanged(db, owner, target, sources, asked), *_scratch(db, target, sources, asked)]
    known = {one.key: one for one in baselines}
    others = [candidate for candidate in asked if candidate.key not in known]
    if len({candidate.key for candidate in others}) < len(others):
        raise errors.Invalid("Two candidates are the same: give each once.", param="candidates")
    if not others and not baselines:
        raise errors.Invalid("There are no candidates.", param="candidates")
    return [*baselines, *others][:most]


def require_judged(candidate: Entrant, param: str) -> None:
    """
    Raises:
        Invalid: its method gives no network whose accuracy could be told.
    """
    method = candidate.method
    if method.headless or not (method.info.gives_model or method.name == UNCHANGED):
        raise errors.Invalid(f"`{method.name}` makes no network that could be judged on labels.", param=param)


def find_sources(db: Session, owner: str, asked: Sequence[Entrant], param: str | None = None) -> list[Source]:
    """The checkpoints and models of the candidates, each once.

    Raises:
        NotFound, NotReady: the owner has no such one, or it is still being processed.
    """
    found: list[Source] = []
    for candidate in asked:
        if candidate.checkpoint is None or any(source.id == candidate.checkpoint for source in found):
            continue
        where = param or f"candidates.{candidate.place}.checkpoint"
        source = planning.find_source(db, owner, candidate.checkpoint, where)
        if source.readiness is not Readiness.READY:
            raise errors.NotReady(f"{source.id} is still being processed: wait until it is ready.", param=where)
        found.append(source)
    return found


def _unchanged(
    db: Session, owner: str, target: DatasetRow, sources: Sequence[Source], asked: Sequence[Entrant]
) -> list[Entrant]:
    baselines = []
    for source in sources:
        if not set(target.classes or ()) <= set(source.classes or ()):
            continue
        named = next((one.source_dataset for one in asked if one.checkpoint == source.id), None)
        images = planning.find_source_dataset(db, owner, named, source)
        try:
            plan = planning.fit(db, parse({"name": UNCHANGED}), source, target, images)
            plan.require_fit()
        except errors.RegraftError:
            continue
        baselines.append(Entrant(source.id, plan.method, named, "unchanged"))
    return baselines


def _scratch(db: Session, target: DatasetRow, sources: Sequence[Source], asked: Sequence[Entrant]) -> list[Entrant]:
    """The first source's network, newly drawn, that sees as many labels as the first candidate; none where a network
    from scratch was asked for."""
    if any(candidate.method.name == candidates.SCRATCH for candidate in asked):
        return []
    limits = [candidate.method.document().get("labels_per_class") for candidate in asked]
    labels = limits[0] if limits and isinstance(limits[0], int) else None
    found = next((made for one in sources if (made := candidates.scratch_method(db, one, target, labels))), None)
    return [] if found is None else [Entrant(None, parse(found), None, "scratch")]
