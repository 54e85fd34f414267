"""`/v1/jobs`: one adaptation each."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from app.api import bodies, events, examples, openapi
from app.api.dependencies import Asker, Poster, Reader, Writer, require
from app.api.pagination import Cascade, Id, Paging
from app.api.schemas.common import Listing
from app.api.schemas.events import Point, Points
from app.api.schemas.jobs import Job, JobSpec, Preflight
from app.api.schemas.preflights import MeasuredPreflight
from app.contract.base import ObjectId, Text
from app.core import errors
from app.core.status import Status
from app.jobs import preflight as preflights
from app.jobs import rehearsals
from app.jobs import service as jobs
from app.removal import service as removal
from app.tournaments import automatic

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=bodies.Route)

Spec = Annotated[JobSpec, Body(openapi_examples=examples.JOB)]
CREATING = openapi.refusals(
    errors.NotFound, errors.NotReady, errors.UntrainedHead, errors.TooManyTasks, *openapi.BODY, errors.Unfit
)
MOVING = openapi.refusals(
    errors.NotFound, errors.WrongStatus, errors.RequestInFlight, errors.Invalid, errors.IdempotencyMismatch
)


@router.post("", status_code=202, response_model=Job, summary="Submit a job", responses=CREATING)
def create(body: Spec, sender: Poster) -> Response:
    """A job may name a checkpoint and datasets that are still being processed, and starts once they are ready."""
    create = automatic.create if body.method.delegates else jobs.create
    return sender.queues(
        lambda db: Job.of(
            create(db, sender.owner, body.request, name=body.name, metadata=body.metadata, terms=body.terms)
        )
    )


@router.post(
    "/preflight",
    response_model=Preflight,
    summary="What a job would come to",
    responses={**CREATING, 202: {"model": MeasuredPreflight, "description": "With `measure`: it is being measured."}},
)
def preflight(
    request: Request,
    body: Spec,
    sender: Asker,
    measure: Annotated[
        bool, Query(description="Have a worker rehearse it; takes a key with the scope `write`.")
    ] = False,
) -> Response:
    """The fit of its parts, and figures that can be told at once; nothing is queued.

    With `measure` a worker rehearses the job and the answer is 202: `GET` it until it is ready.  What has been measured
    before is ready at once."""
    if measure:
        require(request.state.identity, "write")
        return replace(sender, status=202).queues(
            lambda db: MeasuredPreflight.of(rehearsals.create(db, sender.owner, body.request))
        )
    return sender.once(lambda db: Preflight.of(preflights.examine(db, sender.owner, body.request)), effect=False)


@router.get("/preflights/{id}", summary="A measured preflight", responses=openapi.refusals(errors.NotFound))
def measured(id: Id, caller: Reader) -> MeasuredPreflight:
    return caller.reads(lambda db: MeasuredPreflight.of(rehearsals.get(db, caller.owner, id)))


@router.delete(
    "/preflights/{id}",
    status_code=204,
    summary="Delete a measured preflight",
    responses=openapi.refusals(errors.NotFound),
)
def forget(id: Id, caller: Writer) -> None:
    """One that is under way stops."""
    caller.writes(lambda db: removal.delete(db, caller.owner, "pre", id, cascade=False))


@router.get("", summary="List jobs")
def index(
    caller: Reader,
    page: Paging,
    status: Annotated[list[Status], Query(description="May be repeated.")] = [],  # noqa: B006  # FastAPI copies it
    method: Annotated[Text | None, Query(max_length=64)] = None,
    checkpoint: ObjectId | None = None,
    dataset: ObjectId | None = None,
) -> Listing[Job]:
    filters = {"method": method, "checkpoint": checkpoint, "dataset": dataset}
    return caller.reads(
        lambda db: Listing.of(
            [Job.of(stored) for stored in jobs.page(db, caller.owner, page, statuses=status, **filters)], page.limit
        )
    )


@router.get("/{id}", summary="One job", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Job:
    """Two indexed queries, that of the key included: poll as you like."""
    return caller.reads(lambda db: Job.of(jobs.get(db, caller.owner, id)))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a job",
    responses=openapi.refusals(errors.NotFound, errors.HasDependents, errors.WrongStatus),
)
def delete(id: Id, caller: Writer, cascade: Cascade = False) -> None:
    caller.writes(lambda db: removal.delete(db, caller.owner, "job", id, cascade=cascade))


@router.post("/{id}/cancel", response_model=Job, summary="Cancel a job", responses=MOVING)
def cancel(id: Id, sender: Poster) -> Response:
    """A waiting job is cancelled at once, a running one within a batch."""
    return sender.once(lambda db: Job.of(jobs.cancel(db, sender.owner, id)))


@router.post("/{id}/pause", response_model=Job, summary="Pause a job", responses=MOVING)
def pause(id: Id, sender: Poster) -> Response:
    """A running job saves its state first."""
    return sender.once(lambda db: Job.of(jobs.pause(db, sender.owner, id)))


@router.post("/{id}/resume", response_model=Job, summary="Resume a paused job", responses=MOVING)
def resume(id: Id, sender: Poster) -> Response:
    """The job goes on exactly where it stopped."""
    return sender.once(lambda db: Job.of(jobs.resume(db, sender.owner, id)))


@router.post("/{id}/retry", response_model=Job, summary="Queue a failed or cancelled job again", responses=MOVING)
def retry(id: Id, sender: Poster) -> Response:
    """The job begins again from its start."""
    return sender.queues(lambda db: Job.of(jobs.retry(db, sender.owner, id)))


events.add_route(router, jobs.get)


@router.get("/{id}/metrics", summary="Its series", responses=openapi.refusals(errors.NotFound))
def metrics(
    id: Id,
    caller: Reader,
    name: Annotated[list[Text], Query(description="Of these series alone.")] = [],  # noqa: B006
    split: Annotated[Text | None, Query()] = None,
    after_step: Annotated[int | None, Query(ge=0, le=2**31 - 1, description="Beyond this step.")] = None,
) -> Points:
    """Points by step."""
    rows, more = caller.reads(
        lambda db: jobs.metrics(db, caller.owner, id, names=name, split=split, after_step=after_step)
    )
    return Points(data=[Point.model_validate(row) for row in rows], has_more=more)
