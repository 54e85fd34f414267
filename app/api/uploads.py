"""`/v1/uploads`: a large file in ordered parts, each sent again by itself where that is needed."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api import bodies, examples, openapi, quota
from app.api.dependencies import Poster, Reader, Writer
from app.api.pagination import Id
from app.api.schemas.files import File, NewUpload, Upload
from app.api.services import ServicesDep
from app.core import errors
from app.files import service as files
from app.usage import service as usage

router = APIRouter(prefix="/v1/uploads", tags=["files"], route_class=bodies.Route)

Number = Annotated[int, Path(ge=1, le=files.MAX_PARTS, description="Counted from 1.")]


@router.post(
    "", status_code=201, response_model=Upload, summary="Begin an upload", responses=openapi.refusals(*openapi.BODY)
)
def create(
    body: Annotated[NewUpload, Body(openapi_examples=examples.UPLOAD)], sender: Poster, services: ServicesDep
) -> Response:
    most, lifetime_s = services.settings.max_file_bytes, services.settings.upload_lifetime_s
    fields = body.model_dump()
    return sender.once(
        lambda db: Upload.of(files.begin(db, sender.owner, **fields, max_bytes=most, lifetime_s=lifetime_s))
    )


@router.get("/{id}", summary="How far an upload is", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> Upload:
    return caller.reads(lambda db: Upload.of(files.upload(db, caller.owner, id)))


@router.put(
    "/{id}/parts/{number}",
    summary="Send a part",
    responses=openapi.refusals(
        errors.NotFound,
        errors.Conflict,
        errors.WrongPart,
        errors.Gone,
        errors.TooLarge,
        errors.StorageFull,
        errors.QuotaExceeded,
    ),
    openapi_extra=openapi.body({"application/octet-stream": openapi.BYTES}, required=False),
)
async def put_part(id: Id, number: Number, request: Request, caller: Writer, services: ServicesDep) -> Upload:
    """The next part, or one that was sent before again, with the same bytes.  A part may be empty."""
    most = services.settings.max_file_bytes
    room = await run_in_threadpool(
        caller.reads, lambda db: files.expect(files.upload(db, caller.owner, id), number, most)
    )
    quoted, announced = services.settings.max_owner_bytes, bodies.announced(request)
    left = await run_in_threadpool(caller.reads, lambda db: usage.left(db, caller.owner, quoted))
    body = quota.within(bodies.capped(request, room), left, announced)
    async with services.uploads.turn(caller.owner), services.blobs.receiving(body, expected=announced) as blob:
        return await run_in_threadpool(
            caller.writes,
            lambda db: Upload.of(files.add_part(db, caller.owner, id, number, blob, most, most=quoted)),
        )


@router.post(
    "/{id}/complete",
    status_code=201,
    response_model=File,
    summary="Make a file of the parts",
    responses=openapi.refusals(
        errors.NotFound,
        errors.Conflict,
        errors.RequestInFlight,
        errors.Gone,
        errors.Invalid,
        errors.ChecksumMismatch,
        errors.IdempotencyMismatch,
        errors.StorageFull,
        errors.QuotaExceeded,
    ),
)
async def complete(id: Id, sender: Poster, services: ServicesDep) -> Response:
    def assembled() -> Response:
        received = sender.reads(lambda db: files.upload(db, sender.owner, id))
        most = services.settings.max_owner_bytes
        with files.assembling(services.blobs, received.parts) as whole:
            return sender.once(lambda db: File.of(files.complete(db, sender.owner, id, whole, most=most)))

    async with services.assembling.turn(sender.owner):
        return await run_in_threadpool(assembled)


@router.delete("/{id}", status_code=204, summary="Abort an upload", responses=openapi.refusals(errors.NotFound))
def delete(id: Id, caller: Writer) -> None:
    """A file that it became stays."""
    caller.writes(lambda db: files.abort(db, caller.owner, id))
