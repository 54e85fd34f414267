"""Blobs over HTTP: whole, one range of them, or the word that they have not changed (RFC 9110)."""

import re
from typing import Literal

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.api import bodies, openapi, problems
from app.blobs.store import Blobs
from app.core import errors
from app.db.tables import ServableRow

MEDIA_TYPE = "application/octet-stream"
Format = Literal["safetensors", "onnx", "adapter"]
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def weights(request: Request, blobs: Blobs, row_id: str, row: ServableRow, format: Format) -> Response:
    """
    Raises:
        NotServable: there is no graph.
        NotFound: there is no adapter.
        PreconditionFailed: see `serve`.
    """
    name = f"{row_id}.adapter.safetensors" if format == "adapter" else f"{row_id}.{format}"
    return serve(request, blobs, _chosen(row_id, row, format), filename=name, media_type=MEDIA_TYPE)


def _chosen(row_id: str, row: ServableRow, format: Format) -> str:
    match format:
        case "adapter":
            adapter: str | None = getattr(row, "adapter", None)
            if adapter is None:
                raise errors.NotFound(f"{row_id} has no adapter; `lora` makes one.")
            return adapter
        case "onnx" if row.graph is None:
            raise errors.NotServable(row.not_servable or "")
        case "onnx":
            return str(row.graph)
    return str(row.weights)


def serve(request: Request, blobs: Blobs, sha256: str, *, filename: str, media_type: str) -> Response:
    """The blob, whose digest is its strong ETag.  Of several ranges none is honoured: the whole is a valid answer.

    Raises:
        PreconditionFailed: If-Match names another one.
    """
    tag, size = f'"{sha256}"', blobs.size(sha256)
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    if not bodies.known(request.headers.get("If-Match", "*"), tag):
        raise errors.PreconditionFailed
    if "If-None-Match" in request.headers and bodies.known(request.headers["If-None-Match"], tag):
        return Response(status_code=304, headers=headers)
    byte_range = (
        _byte_range(request.headers.get("Range", ""), size) if request.headers.get("If-Range", tag) == tag else None
    )
    start, end = byte_range or (0, size)
    if byte_range and start >= end:
        return problems.answer(errors.RangeNotSatisfiable(), {"Content-Range": f"bytes */{size}"})
    if byte_range:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if byte_range else 200
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(None, status, headers, media_type)
    return StreamingResponse(blobs.stream(sha256, start, end), status, headers, media_type)


def _byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The range asked for, from the first byte up to, not including, the end; empty where that lies outside, None for
    no single range."""
    match = _RANGE.fullmatch(header)
    if match is None or header == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def documented() -> openapi.Responses:
    """The answers of a download, for the OpenAPI document."""
    refused = openapi.refusals(
        errors.NotFound,
        errors.NotReady,
        errors.NotServable,
        errors.PreconditionFailed,
        errors.RangeNotSatisfiable,
    )
    return {
        200: {"description": "The whole file; its sha256 is the ETag.", "content": {MEDIA_TYPE: openapi.BYTES}},
        206: {"description": "The range that was asked for.", "content": {MEDIA_TYPE: openapi.BYTES}},
        304: {"description": "It is the one that If-None-Match names."},
        **refused,
    }
