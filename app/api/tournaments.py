"""`/v1/tournaments`: jobs that race on a dataset until one has won."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.api import bodies, events, examples, openapi
from app.api.dependencies import Poster, Reader, Writer
from app.api.jobs import MOVING
from app.api.pagination import Id, Paging
from app.api.schemas.common import Listing
from app.api.schemas.tournaments import NewTournament, Tournament
from app.core import errors
from app.tournaments import service as tournaments
from app.tournaments.service import KIND

router = APIRouter(prefix="/v1/tournaments", tags=["tournaments"], route_class=bodies.Route)


@router.post(
    "",
    status_code=202,
    response_model=Tournament,
    summary="Let candidates race",
    responses=openapi.refusals(errors.NotFound, errors.NotReady, errors.UntrainedHead, *openapi.BODY, errors.Unfit),
)
def create(body: Annotated[NewTournament, Body(openapi_examples=examples.TOURNAMENT)], sender: Poster) -> Response:
    """Every candidate is an ordinary job, which pauses after a ninth and after a third of its training.  Those that are
    behind on the target's validation images are left behind there, the others go on; a job that comes to its end is
    byte for byte what it would be alone."""
    return sender.queues(
        lambda db: Tournament.of(
            tournaments.create(db, sender.owner, body.request, name=body.name, metadata=body.metadata)
        )
    )


@router.get("", summary="List tournaments")
def index(caller: Reader, page: Paging) -> Listing[Tournament]:
    return caller.reads(
        lambda db: Listing.of(
            [Tournament.of(race) for race in tournaments.page(db, caller.owner, KIND, page)], page.limit
        )
    )


@router.get("/{id}", summary="One tournament", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Tournament:
    return caller.reads(lambda db: Tournament.of(tournaments.get(db, caller.owner, KIND, id)))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a tournament",
    responses=openapi.refusals(errors.NotFound, errors.WrongStatus),
)
def delete(id: Id, caller: Writer) -> None:
    """The jobs stay, and their models."""
    caller.writes(lambda db: tournaments.delete(db, caller.owner, KIND, id))


@router.post("/{id}/cancel", response_model=Tournament, summary="Cancel a tournament", responses=MOVING)
def cancel(id: Id, sender: Poster) -> Response:
    """All its jobs are cancelled: those that wait at once, those that run within a batch."""
    return sender.once(lambda db: Tournament.of(tournaments.cancel(db, sender.owner, KIND, id)))


events.add_route(router, lambda db, owner, id: tournaments.find(db, owner, KIND, id))
