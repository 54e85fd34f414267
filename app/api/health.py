"""Endpoints for whatever watches over the service; they need no key."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api import openapi
from app.api.services import Services, ServicesDep
from app.core import errors
from app.db import schema
from app.jobs import service as jobs

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether it can work", responses=openapi.refusals(errors.Unavailable))
def readyz(services: ServicesDep) -> dict[str, str]:
    """Database, schema and blobs are there; jobs queue until a worker is."""
    with services.database.reading() as db:
        fault = schema.fault(db.connection())
    if fault:
        raise errors.Unavailable(fault, retry_after_s=5)
    services.blobs.check()
    return {"status": "ok"}


@router.get("/metrics", summary="For Prometheus", response_class=Response)
def metrics(services: ServicesDep) -> Response:
    _count_steps(services)
    return Response(generate_latest(services.meters.registry), media_type=CONTENT_TYPE_LATEST)


def _count_steps(services: Services) -> None:
    with services.database.reading() as db:
        counts = jobs.counts(db)
    services.meters.steps.clear()
    for (kind, status), count in counts.items():
        services.meters.steps.labels(kind, status).set(count)
