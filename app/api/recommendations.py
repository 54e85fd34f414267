"""`/v1/recommendations`: what to try on a dataset, before anything is trained."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from sqlalchemy.orm import Session

from app.api import bodies, events, examples, label_lists, openapi
from app.api.dependencies import Poster, Reader, Writer
from app.api.pagination import Id, Paging
from app.api.schemas.common import Listing
from app.api.schemas.jobs import Job
from app.api.schemas.recommendations import (
    IN_LISTS,
    LabelStudioTask,
    NewLabels,
    NewRecommendation,
    NewRecommendedJob,
    Outcome,
    Recommendation,
    ToLabelShape,
)
from app.api.services import Services, ServicesDep
from app.choosing import labelling
from app.choosing import service as choosing
from app.choosing.labelling import Unlabelled
from app.core import errors
from app.datasets import samples
from app.datasets.samples import StoredSample
from app.removal import service as removal

MostImages = Annotated[int, Query(ge=1, le=200, description="Images, at most.")]

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
    return sender.queues(lambda db: Recommendation.of(choosing.create(db, sender.owner, body.asked)))


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
    caller.writes(lambda db: removal.delete(db, caller.owner, "rec", id, cascade=False))


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
    return sender.queues(
        lambda db: Job.of(choosing.submit(db, sender.owner, id, body.rank, name=body.name, metadata=body.metadata))
    )


@router.post(
    "/{id}/labels",
    status_code=202,
    response_model=Recommendation,
    summary="Ask again with more labels",
    responses=openapi.refusals(
        errors.NotFound,
        errors.NotReady,
        errors.TooManyTasks,
        errors.QuotaExceeded,
        errors.StorageFull,
        *openapi.BODY,
        errors.Unfit,
    ),
)
def label(
    id: Id,
    body: Annotated[NewLabels, Body(openapi_examples=examples.NEW_LABELS)],
    sender: Poster,
    services: ServicesDep,
) -> Response:
    """Makes a revision of the dataset with these labels, and a new recommendation that asks the same of it, of all
    labels that there are then, or so many a class.  This one
    stays as it was: forecasts are compared with the truth as they were made."""
    columns = body.columns.model_dump(exclude_none=True) if body.columns else None

    def give(db: Session, labels: str, *, stated: bool) -> Recommendation:
        return Recommendation.of(
            labelling.give(db, sender.owner, id, labels, stated=stated, columns=columns, seen=body.labels_per_class),
        )

    return label_lists.answer(sender, services, body.labels, give, sender.queues)


@router.get(
    "/{id}/to_label", summary="Which images to label next", responses=openapi.refusals(errors.NotFound, errors.NotReady)
)
def to_label(id: Id, caller: Reader, services: ServicesDep, n: MostImages = 24) -> ToLabelShape:
    """Images of the training split whose labels were not read, the first worth most, with thumbnails."""
    found = caller.reads(lambda db: labelling.next_images(db, caller.owner, id))
    return ToLabelShape.of(id, found, _pictures(services, found, n, ToLabelShape.SIDE))


@router.get(
    "/{id}/to_label/label_studio",
    summary="The same as tasks of Label Studio",
    responses=openapi.refusals(errors.NotFound, errors.NotReady),
)
def label_studio(id: Id, caller: Reader, services: ServicesDep, n: MostImages = 24) -> list[LabelStudioTask]:
    """A file to import there.  What it exports goes to `…/labels`, or makes a revision: images go by `data.sample`."""
    found = caller.reads(lambda db: labelling.next_images(db, caller.owner, id))
    return [LabelStudioTask.of(one) for one in _pictures(services, found, n, LabelStudioTask.SIDE)]


def _pictures(services: Services, found: Unlabelled, n: int, side: int) -> list[StoredSample]:
    rows = [] if found.ranked is None else found.ranked.rows[:n]
    return samples.at(services.blobs, found.dataset, rows, side)


@router.get("/{id}/outcome", summary="Its forecasts beside the truth", responses=openapi.refusals(errors.NotFound))
def outcome(id: Id, caller: Reader) -> Outcome:
    """Every entry with what a finished job made of the same: one that came of the recommendation, or else the newest of
    the same checkpoint, dataset, method and labels."""
    return caller.reads(lambda db: Outcome.of(*choosing.outcome(db, caller.owner, id)))
