"""The rules of sweeps: tournaments whose candidates a sampler draws, a few at a time."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.contract.sweep import Space
from app.contract.tournament import Standings
from app.core import errors, ids
from app.db.session import now
from app.db.tables import TournamentRow
from app.jobs import planning
from app.jobs.planning import Request
from app.jobs.service import Terms
from app.queue import controlled
from app.tournaments import entering, field, racing, repository
from app.tournaments.controller import SWEEP
from app.tournaments.field import Entrant
from app.tournaments.service import RaceView, get


@dataclass(frozen=True)
class SweepRequest:
    """`job` is what every trial is but for what is drawn from the `space`, on these `terms`; `method` its parameters as
    they were given.
    `halving`: trials pause at rungs, and those that are behind stay behind."""

    job: Request
    terms: Terms
    method: dict[str, Any]
    space: Space
    trials: int
    halving: bool
    budget_s: float | None
    seed: int


def create(db: Session, owner: str, request: SweepRequest, *, name: str | None, metadata: dict[str, str]) -> RaceView:
    """Draw the first trials; each is a job.

    Raises:
        NotFound, NotReady: there is no such dataset, checkpoint or model, or it is not ready.
        Invalid, Unfit: the job does not fit, the method does not take what is drawn, or there is nothing to judge by.
    """
    job = request.job
    target = planning.find_dataset(db, owner, job.dataset, "job.dataset")
    field.require_validation(target, "job.dataset")
    entrant = Entrant(job.checkpoint, job.method, job.source_dataset)
    field.require_judged(entrant, "job.method")
    field.find_sources(db, owner, [entrant], "job.checkpoint")
    entering.require_takes(request.method, request.space)
    plan = planning.resolve(db, owner, job)
    plan.require_fit()
    row = TournamentRow(
        id=ids.new("sweep"),
        owner=owner,
        created_at=now(),
        kind=SWEEP,
        name=name,
        dataset=target.id,
        request={
            "checkpoint": job.checkpoint,
            "source_dataset": job.source_dataset,
            "method": request.method,
            "space": entering.SPACE.dump_python(request.space, mode="json"),
            "trials": request.trials,
            "halving": request.halving,
            "budget_s": request.budget_s,
            "seed": job.seed,
            "sampler_seed": request.seed,
            "priority": request.terms.priority,
            "max_seconds": request.terms.max_seconds,
        },
        standings=Standings(rungs=[], racers=[]).dump(),
        user_metadata=metadata,
    )
    repository.add(db, row)
    needs = dict.fromkeys(one for one in (target.id, job.checkpoint, job.source_dataset) if one)
    controlled.begin(db, id=row.id, kind=SWEEP, owner=owner, needs=list(needs))
    rungs = list(racing.RUNGS) if request.halving else []
    racers = entering.trials(db, row, [], rungs[0] if rungs else None)
    if all(racer.status == "failed" for racer in racers):
        raise errors.Unfit(f"No trial fits: {racers[0].reason}", param="space")
    row.standings = Standings(rungs=rungs, racers=racers).dump()
    db.flush()
    return get(db, owner, SWEEP, row.id)
