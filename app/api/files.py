"""`/v1/files`: any bytes."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api import bodies, multipart, openapi, quota
from app.api.dependencies import Reader, Uploader, Writer
from app.api.multipart import Piece
from app.api.pagination import Cascade, Id, Paging
from app.api.schemas.common import Listing
from app.api.schemas.files import File
from app.api.services import ServicesDep
from app.core import errors
from app.files import service as files
from app.removal import service as removal
from app.usage import service as usage

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=bodies.Route)

FIELD = "file"


@router.post(
    "",
    status_code=201,
    response_model=File,
    summary="Upload a file",
    responses=openapi.refusals(errors.BadRequest, *openapi.BODY, errors.StorageFull, errors.QuotaExceeded),
    openapi_extra=openapi.body(
        {"application/octet-stream": openapi.BYTES, multipart.MEDIA_TYPE: openapi.form(FIELD, many=False)},
        required=False,
    ),
)
async def create(
    request: Request,
    sender: Uploader,
    services: ServicesDep,
    filename: Annotated[str, Query(description="To be shown.")] = "",
) -> Response:
    """Raw bytes, also none, or a form with a field `file`; stored as they arrive, and not looked into."""
    body = bodies.capped(request, services.settings.max_file_bytes)
    names = [filename]
    if bodies.media_type(request) == multipart.MEDIA_TYPE:
        body = _field(multipart.pieces(request, body), names)
    most, announced = services.settings.max_owner_bytes, bodies.announced(request)
    left = await run_in_threadpool(sender.reads, lambda db: usage.left(db, sender.owner, most))
    body = quota.within(body, left, announced)
    async with services.uploads.turn(sender.owner), services.blobs.receiving(body, expected=announced) as blob:
        name = next(filter(None, names), "")
        return await run_in_threadpool(
            sender.once,
            lambda db: File.of(files.create(db, sender.owner, filename=name, blob=blob, most=most)),
            of=f"{blob.sha256} {name}",
        )


@router.get("", summary="List files")
def index(caller: Reader, page: Paging) -> Listing[File]:
    return caller.reads(lambda db: Listing.of([File.of(row) for row in files.page(db, caller.owner, page)], page.limit))


@router.get("/{id}", summary="One file", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Reader) -> File:
    return caller.reads(lambda db: File.of(files.get(db, caller.owner, id)))


@router.delete(
    "/{id}", status_code=204, summary="Delete a file", responses=openapi.refusals(errors.NotFound, errors.HasDependents)
)
def delete(id: Id, caller: Writer, cascade: Cascade = False) -> None:
    caller.writes(lambda db: removal.delete(db, caller.owner, "file", id, cascade=cascade))


async def _field(pieces: AsyncIterator[Piece], names: list[str]) -> AsyncIterator[bytes]:
    """The bytes of the form's one file, whose name is added to `names`.

    Raises:
        Invalid: the form has another field, or not exactly one file.
    """
    number = -1
    async for part, piece in pieces:
        if part.name != FIELD or number not in (-1, part.number):
            raise errors.Invalid(f"The form is to have one field `{FIELD}` and nothing else.", param=FIELD)
        if number < 0:
            names.append(part.filename)
        number = part.number
        yield piece
    if number < 0:
        raise errors.Invalid(f"The form has no field `{FIELD}`.", param=FIELD)
