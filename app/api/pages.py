"""`/openapi.json`, the OpenAPI document, and `/docs`, its page, from this machine alone."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from app.core import errors

POLICY = "default-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")

router = APIRouter(include_in_schema=False)


@router.api_route("/openapi.json", methods=["GET", "HEAD"])
def document(request: Request) -> JSONResponse:
    """Serve the OpenAPI document from a thread, as all routes that do not wait: FastAPI's own would make it in the
    event loop."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def docs() -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Regraft",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True},
    )
    page.headers["Content-Security-Policy"] = POLICY
    return page


@router.get("/docs/{name}")
def asset(name: str) -> FileResponse:
    spec = find_spec("fastapi_offline")  # found, not imported: its files are all that we want
    if name not in ASSETS or spec is None or spec.origin is None:
        raise errors.NotFound(f"There is nothing at /docs/{name!a}.")
    return FileResponse(Path(spec.origin).parent / "static" / name)
