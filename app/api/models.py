"""`/v1/models`: what jobs made."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api import bodies, downloads, openapi
from app.api.dependencies import Guest, Poster, Predictor, Reader, Writer
from app.api.pagination import Cascade, Id, Paging
from app.api.predictions import answering
from app.api.predictions.priors import Priors
from app.api.schemas.common import Listing
from app.api.schemas.jobs import Job
from app.api.schemas.models import Model, Quantization
from app.api.schemas.predictions import Adaptation, Embeddings, Predictions
from app.api.services import ServicesDep
from app.contract.base import ObjectId, Text
from app.contract.recipe import Recipe
from app.core import errors
from app.db.tables import ServableRow as Row
from app.exports import archive
from app.exports import service as exports
from app.jobs import planning
from app.jobs import service as jobs
from app.models import service as models
from app.removal import service as removal

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # nothing in the page runs, or is fetched


class _Markdown(Response):
    media_type = "text/markdown"


router = APIRouter(prefix="/v1/models", tags=["models"], route_class=bodies.Route)


@router.get("", summary="List models")
def index(
    caller: Reader,
    page: Paging,
    method: Annotated[Text | None, Query(max_length=64)] = None,
    checkpoint: ObjectId | None = None,
    dataset: ObjectId | None = None,
) -> Listing[Model]:
    filters = {"method": method, "checkpoint": checkpoint, "dataset": dataset}
    return caller.reads(
        lambda db: Listing.of([Model.of(row) for row in models.page(db, caller.owner, page, **filters)], page.limit)
    )


@router.get("/{id}", summary="One model", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Model:
    return caller.reads(lambda db: Model.of(models.get(db, caller.owner, id)))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a model",
    responses=openapi.refusals(errors.NotFound, errors.HasDependents, errors.WrongStatus),
)
def delete(id: Id, caller: Writer, cascade: Cascade = False) -> None:
    caller.writes(lambda db: removal.delete(db, caller.owner, "model", id, cascade=cascade))


@router.head("/{id}/weights", include_in_schema=False)
@router.get("/{id}/weights", summary="Download its weights", responses=downloads.documented(), response_class=Response)
def weights(
    id: Id, request: Request, caller: Reader, services: ServicesDep, format: downloads.Format = "safetensors"
) -> Response:
    """The file comes with an ETag; ranges and conditions are heeded."""
    row = caller.reads(lambda db: models.get(db, caller.owner, id))
    return downloads.weights(request, services.blobs, id, row, format)


@router.get(
    "/{id}/exports/{format}",
    summary="Download it for others' tools",
    responses={
        **openapi.refusals(errors.NotFound, errors.NotServable, errors.NotExportable, errors.UntrainedHead),
        200: {"description": "A zip.", "content": {"application/zip": openapi.BYTES}},
        304: {"description": "It is the one that If-None-Match names."},
    },
    response_class=Response,
)
async def export(id: Id, format: exports.Format, request: Request, caller: Reader, services: ServicesDep) -> Response:
    """`bundle` classifies images without this service: `predict.py`, the graph, the card. `timm` is what
    `timm.create_model("local-dir:…", pretrained=True)` loads and the Hugging Face hub takes. `triton` is a model
    repository of the Triton inference server."""
    model, card = await run_in_threadpool(
        caller.reads, lambda db: (models.get(db, caller.owner, id), models.describe(db, caller.owner, id))
    )
    tensors = await archive.tensor_names(str(model.weights), services.blobs) if format == "timm" else ()
    members = exports.members(model, card, format, tensors)
    tag = archive.tag(members)
    headers = {"ETag": f"W/{tag}", "Cache-Control": "private, no-cache"}
    if bodies.known(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{id}.{format}.zip"'
    return StreamingResponse(archive.stream(members, services.blobs), headers=headers, media_type="application/zip")


@router.get(
    "/{id}/recipe",
    response_model=Recipe,
    summary="Its training rule",
    responses=openapi.refusals(errors.NotFound, errors.NoRecipe),
)
def recipe(id: Id, caller: Reader) -> Response:
    """The rule that it was trained by: what a checkpoint takes as `recipe`, and `rule_transfer` replays."""
    return JSONResponse(caller.reads(lambda db: models.recipe(db, caller.owner, id)))


@router.get("/{id}/card", summary="Its card", responses=openapi.refusals(errors.NotFound), response_class=_Markdown)
def card(id: Id, caller: Reader) -> Response:
    """The card says in Markdown what the model is, from what, how it was made, how good it is, and where it ends."""
    return _Markdown(caller.reads(lambda db: models.describe(db, caller.owner, id)))


@router.get(
    "/{id}/report", summary="Its report", responses=openapi.refusals(errors.NotFound), response_class=HTMLResponse
)
def report(id: Id, caller: Reader) -> Response:
    """Figures, curves, where every weight comes from and how far it went: one HTML page that needs nothing else."""
    page = caller.reads(lambda db: models.report(db, caller.owner, id))
    return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


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
    precision: answering.AtPrecision = "float32",
    priors: Priors = None,
) -> Response:
    """One image as the body, or many as a form or in JSON."""

    def find(db: Session) -> Row:
        return models.answering(db, sender.owner, id)

    give = answering.classified(top_k)
    if adapt and precision != "float32":
        raise errors.Invalid("What adapts is the network in float32: leave one of them out.", param="precision")
    if adapt and priors:
        raise errors.Invalid("An adapting network has no priors that are known: leave one of them out.", param="priors")
    if adapt:
        return await answering.adapting(request, id, sender, services, find, give)
    return await answering.answer(request, sender, services, find, give, precision, priors)


@router.post(
    "/{id}/quantizations",
    status_code=202,
    response_model=Job,
    summary="Have it served in eight bits, too",
    responses=openapi.refusals(errors.NotFound, errors.UntrainedHead, *openapi.BODY, errors.Unfit),
)
def quantize(id: Id, body: Quantization, sender: Poster) -> Response:
    """A job, which fails where too much would be lost.  Afterwards predictions take `?precision=int8`."""

    def create(db: Session) -> Job:
        dataset = models.get(db, sender.owner, id).dataset
        request = planning.Request(checkpoint=id, dataset=dataset, source_dataset=None, method=body.method, seed=0)
        return Job.of(jobs.create(db, sender.owner, request, name=body.name, metadata=body.metadata))

    return sender.queues(create)


@router.get("/{id}/adaptation", summary="Where its adaptation stands", responses=openapi.refusals(errors.NotFound))
async def adaptation(id: Id, caller: Reader, services: ServicesDep) -> Adaptation:
    """The state is that of predictions with `adapt`, by this server process since it started."""
    await run_in_threadpool(caller.reads, lambda db: models.get(db, caller.owner, id))
    return Adaptation.model_validate(await services.streams.state(id), from_attributes=True)


@router.delete("/{id}/adaptation", status_code=204, summary="Begin anew", responses=openapi.refusals(errors.NotFound))
async def reset(id: Id, caller: Guest, services: ServicesDep) -> None:
    """The next prediction with `adapt` is by the network as it is stored."""
    await run_in_threadpool(caller.reads, lambda db: models.get(db, caller.owner, id))
    await services.streams.reset(id)


@router.post(
    "/{id}/embeddings",
    response_model=Embeddings,
    summary="Features of images",
    responses=answering.RESPONSES,
    openapi_extra=answering.BODY,
)
async def embed(id: Id, request: Request, sender: Predictor, services: ServicesDep) -> Response:
    """The features of each image, as the head sees them."""
    return await answering.answer(
        request, sender, services, lambda db: models.get(db, sender.owner, id), answering.embedded
    )
