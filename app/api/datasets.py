"""`/v1/datasets`: images with labels, or without."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from sqlalchemy.orm import Session

from app.api import bodies, events, examples, label_lists, openapi
from app.api.dependencies import Poster, Reader, Writer
from app.api.pagination import Cascade, Id, Limit, Paging
from app.api.schemas.common import Listing
from app.api.schemas.datasets import Dataset, NewDataset, NewRevision, Sample
from app.api.services import ServicesDep
from app.core import errors
from app.core.status import Readiness
from app.datasets import revisions
from app.datasets import samples as thumbnails
from app.datasets import service as datasets
from app.imaging.packed import Split
from app.removal import service as removal

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=bodies.Route)


@router.post(
    "",
    status_code=202,
    response_model=Dataset,
    summary="Make a dataset",
    responses=openapi.refusals(errors.NotFound, *openapi.BODY),
)
def create(body: Annotated[NewDataset, Body(openapi_examples=examples.NEW_DATASET)], sender: Poster) -> Response:
    """A dataset is made of the images in a file; splits that it does not bring are carved out of its training
    images."""
    ingest = body.ingest()
    return sender.once(
        lambda db: Dataset.of(
            datasets.create(db, sender.owner, name=body.name, file=body.file, ingest=ingest, metadata=body.metadata)
        )
    )


@router.post(
    "/{id}/revisions",
    status_code=202,
    response_model=Dataset,
    summary="Add and correct labels",
    responses=openapi.refusals(errors.NotFound, errors.QuotaExceeded, errors.StorageFull, *openapi.BODY),
)
def revise(
    id: Id,
    body: Annotated[NewRevision, Body(openapi_examples=examples.NEW_REVISION)],
    sender: Poster,
    services: ServicesDep,
) -> Response:
    """A new dataset of the same images in the same splits, with labels that a list adds and corrects.  This one stays
    as it is, and may be deleted once the revision is made."""
    columns = body.columns.model_dump(exclude_none=True) if body.columns else None

    def create(db: Session, labels: str, *, stated: bool) -> Dataset:
        return Dataset.of(
            revisions.create(
                db,
                sender.owner,
                id,
                labels=labels,
                stated=stated,
                name=body.name,
                columns=columns,
                metadata=body.metadata,
            )
        )

    return label_lists.answer(sender, services, body.labels, create)


@router.get("", summary="List datasets")
def index(caller: Reader, page: Paging, status: Readiness | None = None) -> Listing[Dataset]:
    return caller.reads(
        lambda db: Listing.of(
            [Dataset.of(stored) for stored in datasets.page(db, caller.owner, page, status)], page.limit
        )
    )


@router.get("/{id}", summary="One dataset", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Dataset:
    return caller.reads(lambda db: Dataset.of(datasets.get(db, caller.owner, id)))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a dataset",
    responses=openapi.refusals(errors.NotFound, errors.HasDependents, errors.WrongStatus),
)
def delete(id: Id, caller: Writer, cascade: Cascade = False) -> None:
    caller.writes(lambda db: removal.delete(db, caller.owner, "ds", id, cascade=cascade))


events.add_route(router, datasets.get)


@router.get("/{id}/samples", summary="Look at it", responses=openapi.refusals(errors.NotFound, errors.NotReady))
def samples(
    id: Id,
    caller: Reader,
    services: ServicesDep,
    split: Split = "train",
    label: Annotated[
        str | None, Query(description="Of this class alone; one that the dataset does not have is refused.")
    ] = None,
    limit: Limit = 20,
    after: Annotated[str | None, Query(pattern=r"^sample_\d{1,9}$")] = None,
) -> Listing[Sample]:
    """Thumbnails with their labels, in the order of the store."""
    dataset = caller.reads(lambda db: datasets.ready(db, caller.owner, id))
    row = None if after is None else int(after.removeprefix("sample_"))
    page = thumbnails.of(services.blobs, dataset, split=split, label=label, after=row, limit=limit + 1)
    return Listing.of([Sample.of(sample, split, dataset.classes) for sample in page], limit)
