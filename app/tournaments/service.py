"""The rules of tournaments: asked for, raced by their controller, shown while they do."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.contract.tournament import Racer, Standings
from app.core import errors, ids
from app.core.status import TERMINAL
from app.db.paging import Page
from app.db.session import now
from app.db.tables import Task, TournamentRow
from app.jobs import planning
from app.queue import controlled
from app.queue import service as queue
from app.queue.policy import Priority
from app.removal import service as removal
from app.tournaments import controller, entering, field, racing, repository
from app.tournaments.field import Entrant
from app.tournaments.repository import Candidacy, StoredTournament

KIND = "tournament"


@dataclass(frozen=True)
class TournamentRequest:
    """`candidates` None are those that a recommendation has: `recommendation`, or the newest for the dataset."""

    dataset: str
    candidates: Sequence[Entrant] | None
    recommendation: str | None
    max_jobs: int | None
    budget_s: float | None
    seed: int
    priority: Priority = "normal"


class RaceView(NamedTuple):
    """A tournament with its task, its standings, and those of its jobs that are still there, by id."""

    row: TournamentRow
    task: Task
    standings: Standings
    jobs: Mapping[str, Candidacy]


def create(
    db: Session, owner: str, request: TournamentRequest, *, name: str | None, metadata: dict[str, str]
) -> RaceView:
    """Let candidates race: a job each, all queued at once, that pauses at the first rung.

    Raises:
        NotFound, NotReady: there is no such dataset, checkpoint, model or recommendation, or it is not ready.
        Invalid, Unfit: a candidate does not fit, or there is nothing to judge by; see `field`.
    """
    target = planning.find_dataset(db, owner, request.dataset, "dataset")
    field.require_validation(target)
    if request.candidates is None:
        asked = field.recommended(db, owner, target, request.recommendation, request.max_jobs)
    else:
        asked = list(request.candidates)
    most = request.max_jobs or field.MOST
    entrants = field.complete(db, owner, target, asked, most)
    document: dict[str, object] = {
        "candidates": "recommended" if request.candidates is None else len(asked),
        "recommendation": request.recommendation,
        "max_jobs": request.max_jobs,
        "budget_s": request.budget_s,
        "seed": request.seed,
        "priority": request.priority,
    }
    row = TournamentRow(
        id=ids.new("tour"),
        owner=owner,
        created_at=now(),
        kind=KIND,
        name=name,
        dataset=target.id,
        request=document,
        standings=Standings(rungs=list(racing.RUNGS), racers=[]).dump(),
        user_metadata=metadata,
    )
    repository.add(db, row)
    needs = {target.id: None} | {one: None for c in entrants for one in (c.checkpoint, c.source_dataset) if one}
    controlled.begin(db, id=row.id, kind=KIND, owner=owner, needs=list(needs))
    racers = [_enter(db, row, candidate, number) for number, candidate in enumerate(entrants, start=1)]
    row.standings = Standings(rungs=list(racing.RUNGS), racers=racers).dump()
    db.flush()
    return get(db, owner, KIND, row.id)


def _enter(db: Session, row: TournamentRow, entrant: Entrant, number: int) -> Racer:
    try:
        return entering.enter(db, row, entrant, number, racing.RUNGS[0], {})
    except errors.RegraftError as error:
        if entrant.place is not None:
            where = f"candidates.{entrant.place}."
            error.param = f"{where}{error.param or 'method'}"
            error.errors = [fault | {"param": f"{where}{fault['param']}"} for fault in error.errors]
        raise


def get(db: Session, owner: str, kind: str, tournament_id: str) -> RaceView:
    """
    Raises:
        NotFound: the owner has no such tournament, or sweep.
    """
    return _races(db, [find(db, owner, kind, tournament_id)])[0]


def find(db: Session, owner: str, kind: str, tournament_id: str) -> StoredTournament:
    """The tournament without its jobs.

    Raises:
        NotFound: the owner has no such tournament, or sweep.
    """
    stored = repository.find(db, owner, kind, tournament_id)
    if stored is None:
        raise errors.NotFound(f"There is no {kind} {tournament_id}.")
    return stored


def page(db: Session, owner: str, kind: str, page: Page) -> list[RaceView]:
    return _races(db, repository.page(db, owner, kind, page))


def cancel(db: Session, owner: str, kind: str, tournament_id: str) -> RaceView:
    """Cancel it and all its jobs; those that run stop within a batch, and it has ended then.

    Raises:
        NotFound: the owner has no such tournament, or sweep.
        WrongStatus: it has ended.
    """
    find(db, owner, kind, tournament_id)
    queue.cancel(db, tournament_id)
    racers = Standings.load(repository.get(db, tournament_id).standings).racers
    for job_id, candidacy in repository.candidacies(db, [racer.job for racer in racers]).items():
        if candidacy.task.status not in TERMINAL:
            with suppress(errors.WrongStatus):  # it has ended meanwhile
                queue.cancel(db, job_id)
    db.flush()
    controller.advance(db, tournament_id)
    return get(db, owner, kind, tournament_id)


def delete(db: Session, owner: str, kind: str, tournament_id: str) -> None:
    """Delete it; its jobs stay, and their models.

    Raises:
        NotFound: the owner has no such tournament, or sweep.
        WrongStatus: it has not ended.
    """
    find(db, owner, kind, tournament_id)
    removal.delete(db, owner, "tour" if kind == KIND else "sweep", tournament_id, cascade=False)


def _races(db: Session, found: Sequence[StoredTournament]) -> list[RaceView]:
    standings = [Standings.load(stored.tournament.standings) for stored in found]
    there = repository.candidacies(db, [racer.job for one in standings for racer in one.racers])
    return [
        RaceView(stored.tournament, stored.task, one, {r.job: there[r.job] for r in one.racers if r.job in there})
        for stored, one in zip(found, standings, strict=True)
    ]
