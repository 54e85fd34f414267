"""`/v1/checkpoints`: source models."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api import bodies, downloads, events, examples, openapi
from app.api.dependencies import Guest, Poster, Predictor, Reader, Writer
from app.api.pagination import Cascade, Id, Paging
from app.api.predictions import answering
from app.api.predictions.priors import Priors
from app.api.schemas.checkpoints import (
    Checkpoint,
    FromFile,
    IdentificationObject,
    NewCheckpoint,
    NewIdentification,
    Pretrained,
    Promoted,
)
from app.api.schemas.common import Listing
from app.api.schemas.predictions import Adaptation, Predictions
from app.api.services import ServicesDep
from app.checkpoints import identification
from app.checkpoints import service as checkpoints
from app.checkpoints.repository import StoredCheckpoint
from app.contract.recipe import Recipe
from app.core import errors
from app.core.status import Readiness
from app.db.tables import ServableRow as Row
from app.removal import service as removal

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"], route_class=bodies.Route)


@router.post(
    "",
    status_code=202,
    response_model=Checkpoint,
    summary="Make a checkpoint",
    responses=openapi.refusals(errors.NotFound, errors.NotReady, errors.Unfit, *openapi.BODY),
)
def create(body: Annotated[NewCheckpoint, Body(openapi_examples=examples.NEW_CHECKPOINT)], sender: Poster) -> Response:
    """A checkpoint is made from a file of weights and the network that it belongs to, from published weights, or from a
    model."""

    def make(db: Session) -> StoredCheckpoint:
        owner, name, metadata = sender.owner, body.name, body.metadata
        match body:
            case FromFile(file=file):
                return checkpoints.create(
                    db, owner, name=name, file=file, ingest=body.ingest(), metadata=metadata, dataset=body.dataset
                )
            case Pretrained(pretrained=pretrained):
                return checkpoints.create_pretrained(db, owner, name=name, pretrained=pretrained, metadata=metadata)
            case Promoted(model=model):
                return checkpoints.promote(db, owner, name=name, model=model, metadata=metadata)

    return sender.once(lambda db: Checkpoint.of(make(db)))


@router.post(
    "/identify",
    status_code=202,
    response_model=IdentificationObject,
    summary="Ask which network a file is of",
    responses=openapi.refusals(errors.NotFound, errors.NotReady, errors.Unfit, *openapi.BODY),
)
def identify(body: NewIdentification, sender: Poster) -> Response:
    """A worker compares the file's tensors with all networks that it knows; `GET` the answer until it is ready."""
    return sender.once(
        lambda db: IdentificationObject.of(
            identification.create(
                db, sender.owner, file=body.file, dataset=body.dataset, input=body.input, classes=body.classes
            )
        )
    )


@router.get("/identify/{id}", summary="Which network a file is of", responses=openapi.refusals(errors.NotFound))
def identified(id: Id, caller: Reader) -> IdentificationObject:
    return caller.reads(lambda db: IdentificationObject.of(identification.get(db, caller.owner, id)))


@router.delete(
    "/identify/{id}", status_code=204, summary="Delete an identification", responses=openapi.refusals(errors.NotFound)
)
def forget(id: Id, caller: Writer) -> None:
    caller.writes(lambda db: removal.delete(db, caller.owner, "idn", id, cascade=False))


@router.get("", summary="List checkpoints")
def index(caller: Reader, page: Paging, status: Readiness | None = None) -> Listing[Checkpoint]:
    return caller.reads(
        lambda db: Listing.of(
            [Checkpoint.of(stored) for stored in checkpoints.page(db, caller.owner, page, status)], page.limit
        )
    )


@router.get("/{id}", summary="One checkpoint", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Checkpoint:
    return caller.reads(lambda db: Checkpoint.of(checkpoints.get(db, caller.owner, id)))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a checkpoint",
    responses=openapi.refusals(errors.NotFound, errors.HasDependents, errors.WrongStatus),
)
def delete(id: Id, caller: Writer, cascade: Cascade = False) -> None:
    caller.writes(lambda db: removal.delete(db, caller.owner, "ckpt", id, cascade=cascade))


events.add_route(router, checkpoints.get)


@router.get(
    "/{id}/recipe",
    response_model=Recipe,
    summary="Its training rule",
    responses=openapi.refusals(errors.NotFound, errors.NoRecipe),
)
def recipe(id: Id, caller: Reader) -> Response:
    """Augmentation and the rest of the rule that it was trained by; what is not known is left out."""
    return JSONResponse(caller.reads(lambda db: checkpoints.recipe(db, caller.owner, id)))


@router.head("/{id}/weights", include_in_schema=False)
@router.get("/{id}/weights", summary="Download its weights", responses=downloads.documented(), response_class=Response)
def weights(
    id: Id, request: Request, caller: Reader, services: ServicesDep, format: downloads.Format = "safetensors"
) -> Response:
    """The file comes with an ETag; ranges and conditions are heeded."""
    row = caller.reads(lambda db: checkpoints.ready(db, caller.owner, id))
    return downloads.weights(request, services.blobs, id, row, format)


@router.post(
    "/{id}/predictions",
    response_model=Predictions,
    summary="Classify images",
    responses=answering.RESPONSES,
    openapi_extra=answering.BODY,
)
async def predict(
    id: Id,
    request: Request,
    sender: Predictor,
    services: ServicesDep,
    top_k: answering.TopK = None,
    adapt: answering.Adapt = None,
    priors: Priors = None,
) -> Response:
    """One image as the body, or many as a form or in JSON."""

    def find(db: Session) -> Row:
        return checkpoints.answering(db, sender.owner, id)

    give = answering.classified(top_k)
    if adapt and priors:
        raise errors.Invalid("An adapting network has no priors that are known: leave one of them out.", param="priors")
    if adapt:
        return await answering.adapting(request, id, sender, services, find, give)
    return await answering.answer(request, sender, services, find, give, "float32", priors)


@router.get("/{id}/adaptation", summary="Where its adaptation stands", responses=openapi.refusals(errors.NotFound))
async def adaptation(id: Id, caller: Reader, services: ServicesDep) -> Adaptation:
    """The state is that of predictions with `adapt`, by this server process since it started."""
    await run_in_threadpool(caller.reads, lambda db: checkpoints.get(db, caller.owner, id))
    return Adaptation.model_validate(await services.streams.state(id), from_attributes=True)


@router.delete("/{id}/adaptation", status_code=204, summary="Begin anew", responses=openapi.refusals(errors.NotFound))
async def reset(id: Id, caller: Guest, services: ServicesDep) -> None:
    """The next prediction with `adapt` is by the network as it is stored."""
    await run_in_threadpool(caller.reads, lambda db: checkpoints.get(db, caller.owner, id))
    await services.streams.reset(id)
