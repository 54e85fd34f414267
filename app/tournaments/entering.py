"""Entering a race: the jobs of candidates, and those of a sweep's next trials."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.contract.sweep import Drawn, Range, Space
from app.contract.tournament import Racer
from app.core import errors
from app.db.tables import TournamentRow
from app.jobs import service as jobs
from app.jobs.planning import Request
from app.jobs.service import RacePlace, Terms
from app.methods.base import Method
from app.methods.registry import parse
from app.tournaments import sampler
from app.tournaments.field import Entrant

AT_ONCE = 4  # trials, once the first third is known
SPACE: TypeAdapter[Space] = TypeAdapter(Space)


def enter(
    db: Session, row: TournamentRow, entrant: Entrant, number: int, pause_after: float | None, drawn: sampler.Point
) -> Racer:
    """Queue the job of a candidate, or of a trial whose parameters were `drawn`.

    Raises:
        NotFound, NotReady, Unfit, Invalid: see `jobs.create`.
    """
    request = Request(
        checkpoint=entrant.checkpoint,
        dataset=row.dataset,
        source_dataset=entrant.source_dataset,
        method=entrant.method,
        seed=row.request["seed"],
    )
    place = RacePlace(row.id, pause_after)
    terms = Terms(row.request.get("priority", "normal"), row.request.get("max_seconds"))
    job = jobs.create(db, row.owner, request, name=row.name, metadata={}, entry=place, terms=terms).job
    return Racer(
        number=number,
        checkpoint=job.checkpoint,
        source_dataset=job.source_dataset,
        method=job.method,
        family=type(entrant.method).__module__.split(".")[-2],
        baseline=entrant.baseline,
        job=job.id,
        drawn=drawn,
    )


def trials(db: Session, row: TournamentRow, before: Sequence[Racer], pause_after: float | None) -> list[Racer]:
    """Draw a sweep's next trials, and queue their jobs; none where all were drawn.

    A third of them is spread evenly, at least two; then a few at a time, by what the others came to.  One that does
    not fit has failed.
    """
    asked, space = row.request, SPACE.validate_python(row.request["space"])
    even = max(2, -(-asked["trials"] // 3))
    wanted = min(asked["trials"], even if not before else len(before) + AT_ONCE)
    racers = list(before)
    while len(racers) < wanted:
        point = sampler.propose(space, asked["sampler_seed"], racers, even=even)
        racers.append(_trial(db, row, point, len(racers) + 1, pause_after))
    return racers[len(before) :]


def drawn_method(base: Mapping[str, Any], point: Mapping[str, Drawn]) -> Method:
    """The method with the drawn parameters in their places.

    Raises:
        Invalid: it takes none of them; `param` says which.
    """
    document: dict[str, Any] = dict(base)
    for path, value in point.items():
        *within, last = path.split(".")[1:]
        place = document
        for name in within:
            inner = place.get(name)
            if inner is not None and not isinstance(inner, Mapping):
                raise errors.Invalid(f"`{path}`: `{name}` has no parts, it is {inner!r}.", param="space")
            place[name] = dict(inner or {})
            place = place[name]
        place[last] = value
    try:
        return parse(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(["method", *(str(part) for part in fault["loc"][1:])])
        raise errors.Invalid(f"`{path}`: {fault['msg']}.", param="space") from error


def require_takes(base: Mapping[str, Any], space: Space) -> None:
    """Try every parameter's ends, or choices, by itself: a trial is to be refused now and not when it is drawn.

    Raises:
        Invalid: the method takes one of them nowhere.
    """
    for path, dimension in space.items():
        if path == "method.name":
            message = "A sweep is of one method: let several race in a tournament."
            raise errors.Invalid(message, param="space")
        for value in (dimension.value(0), dimension.value(1)) if isinstance(dimension, Range) else dimension:
            drawn_method(base, {path: value})


def _trial(db: Session, row: TournamentRow, point: sampler.Point, number: int, pause_after: float | None) -> Racer:
    asked = row.request
    try:
        method = drawn_method(asked["method"], point)
        entrant = Entrant(asked["checkpoint"], method, asked["source_dataset"])
        return enter(db, row, entrant, number, pause_after, point)
    except errors.RegraftError as error:
        unfit = {"name": asked["method"]["name"]}
        return Racer(number=number, method=unfit, family="", job="", drawn=point, status="failed", reason=error.detail)
