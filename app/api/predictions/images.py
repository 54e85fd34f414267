"""The images of a request: one as the raw body, many as a form or in JSON."""

from collections.abc import AsyncIterable, AsyncIterator

from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.api import bodies, multipart, problems
from app.api.schemas.predictions import Images
from app.core import errors

FIELD = "images"


async def read(request: Request, limit: int) -> list[bytes]:
    """Image files, in the order sent; whether they can be read is not looked at.

    Raises:
        TooLarge: the body has more than `limit` bytes.
        Overloaded: there is no room for it just now.
        UnsupportedMedia: it is neither an image, nor a form, nor JSON.
        BadRequest, Invalid: the form or the JSON cannot be read.
    """
    kind, body = bodies.media_type(request), bodies.held(request, limit)
    if kind == multipart.MEDIA_TYPE:
        return await _of_form(request, body)
    if kind == "application/json":
        return await run_in_threadpool(_of_json, await _joined(body))
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [await _joined(body)]
    raise errors.UnsupportedMedia("Send an image as the body, a form with `images`, or JSON with `images` in base64.")


async def _of_form(request: Request, body: AsyncIterator[bytes]) -> list[bytes]:
    files: dict[int, bytearray] = {}
    async for part, piece in multipart.pieces(request, body):
        if part.name != FIELD:
            raise errors.Invalid(f"The form is to have files named `{FIELD}` and nothing else.", param=FIELD)
        files.setdefault(part.number, bytearray()).extend(piece)
    if not files:
        raise errors.Invalid(f"The form has no files named `{FIELD}`.", param=FIELD)
    return [bytes(file) for file in files.values()]


def _of_json(body: bytes) -> list[bytes]:
    try:
        return Images.model_validate_json(body).images
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise problems.invalid([{**fault, "loc": ("json", *fault["loc"])} for fault in faults], None) from None


async def _joined(body: AsyncIterable[bytes]) -> bytes:
    return b"".join([piece async for piece in body])
