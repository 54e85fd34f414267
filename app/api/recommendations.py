"""`/v1/recommendations`: what to try on a dataset, before anything is trained."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.api import bodies, events, examples, openapi
from app.api.dependencies import Poster, Reader, Writer
from app.api.pagination import Id, Paging
from app.api.schemas.common import Listing
from app.api.schemas.jobs import Job
from app.api.schemas.recommendations import (
    IN_LISTS,
    NewRecommendation,
    NewRecommendedJob,
    Outcome,
    Recommendation,
)
from app.choosing import service as choosing
from app.core import errors
from app.removal import service as removal

router = APIRouter(prefix="/v1/recommendations", tags=["recommendations"], route_class=bodies.Route)


@router.post(
    "",
    status_code=202,
    response_model=Recommendation,
    summary="Ask what to try",
    responses=openapi.refusals(errors.NotFound, errors.NotReady, *openapi.BODY, errors.Unfit),
)
def create(
    body: Annotated[NewRecommendation, Body(openapi_examples=examples.RECOMMENDATION)], sender: Poster
) -> Response:
    """A worker looks at some training images through every candidate; `GET` the answer, which sharpens until it is
    ready.  Checkpoints and datasets may still be processing."""
    return sender.once(lambda db: Recommendation.of(choosing.create(db, sender.owner, body.asked)))


@router.get("", summary="List recommendations")
def index(caller: Reader, page: Paging) -> Listing[Recommendation]:
    return caller.reads(
        lambda db: Listing.of(
            [Recommendation.of(answer, most=IN_LISTS) for answer in choosing.page(db, caller.owner, page)], page.limit
        )
    )


@router.get("/{id}", summary="One recommendation", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Recommendation:
    return caller.reads(lambda db: Recommendation.of(choosing.get(db, caller.owner, id)))


@router.delete("/{id}", status_code=204, summary="Delete a recommendation", responses=openapi.refusals(errors.NotFound))
def delete(id: Id, caller: Writer) -> None:
    """The jobs that came of it stay."""
    caller.writes(lambda db: removal.delete(db, caller.owner, id, cascade=False))


events.add_route(router, choosing.find)


@router.post(
    "/{id}/jobs",
    status_code=202,
    response_model=Job,
    summary="Submit an entry as a job",
    responses=openapi.refusals(errors.NotFound, errors.NotReady, errors.UntrainedHead, *openapi.BODY, errors.Unfit),
)
def submit(id: Id, body: NewRecommendedJob, sender: Poster) -> Response:
    """The job is one like any other, and stands among the recommendation's `jobs`.

    A rank that it does not have is refused, and any before it is ready: till then the ranks may change."""
    return sender.once(
        lambda db: Job.of(choosing.submit(db, sender.owner, id, body.rank, name=body.name, metadata=body.metadata))
    )


@router.get("/{id}/outcome", summary="Its forecasts beside the truth", responses=openapi.refusals(errors.NotFound))
def outcome(id: Id, caller: Reader) -> Outcome:
    """Every entry with what a finished job made of the same: one that came of the recommendation, or else the newest of
    the same checkpoint, dataset, method and labels."""
    return caller.reads(lambda db: Outcome.of(*choosing.outcome(db, caller.owner, id)))
