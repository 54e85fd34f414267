"""`/v1/sweeps`: one job over and over, with parameters that a sampler draws."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.api import bodies, events, examples, openapi
from app.api.dependencies import Poster, Reader, Writer
from app.api.jobs import CREATING, MOVING
from app.api.pagination import Id, Paging
from app.api.schemas.common import Listing
from app.api.schemas.sweeps import NewSweep, Sweep
from app.core import errors
from app.tournaments import service as tournaments
from app.tournaments import sweeps
from app.tournaments.controller import SWEEP

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], route_class=bodies.Route)


@router.post("", status_code=202, response_model=Sweep, summary="Look for the best parameters", responses=CREATING)
def create(body: Annotated[NewSweep, Body(openapi_examples=examples.SWEEP)], sender: Poster) -> Response:
    """Every trial is an ordinary job, which races as in a tournament; the next ones are drawn by what those before came
    to."""
    return sender.queues(
        lambda db: Sweep.of(sweeps.create(db, sender.owner, body.request, name=body.name, metadata=body.metadata))
    )


@router.get("", summary="List sweeps")
def index(caller: Reader, page: Paging) -> Listing[Sweep]:
    return caller.reads(
        lambda db: Listing.of([Sweep.of(race) for race in tournaments.page(db, caller.owner, SWEEP, page)], page.limit)
    )


@router.get("/{id}", summary="One sweep", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Sweep:
    return caller.reads(lambda db: Sweep.of(tournaments.get(db, caller.owner, SWEEP, id)))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a sweep",
    responses=openapi.refusals(errors.NotFound, errors.WrongStatus),
)
def delete(id: Id, caller: Writer) -> None:
    """The jobs stay, and their models."""
    caller.writes(lambda db: tournaments.delete(db, caller.owner, SWEEP, id))


@router.post("/{id}/cancel", response_model=Sweep, summary="Cancel a sweep", responses=MOVING)
def cancel(id: Id, sender: Poster) -> Response:
    """All its jobs are cancelled: those that wait at once, those that run within a batch."""
    return sender.once(lambda db: Sweep.of(tournaments.cancel(db, sender.owner, SWEEP, id)))


events.add_route(router, lambda db, owner, id: tournaments.find(db, owner, SWEEP, id))
