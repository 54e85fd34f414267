"""For whatever watches over the service; needs no key."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api import openapi
from app.api.parts import House, Parts
from app.core import errors
from app.db import schema
from app.jobs import service as jobs

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether it can work", responses=openapi.refusals(errors.Unavailable))
def readyz(house: House) -> dict[str, str]:
    """Database, schema and blobs are there; jobs queue until a worker is."""
    with house.database.reading() as db:
        fault = schema.fault(db.connection())
    if fault:
        raise errors.Unavailable(fault, retry_after_s=5)
    house.blobs.check()
    return {"status": "ok"}


@router.get("/metrics", summary="For Prometheus", response_class=Response)
def metrics(house: House) -> Response:
    _count_steps(house)
    return Response(generate_latest(house.meters.registry), media_type=CONTENT_TYPE_LATEST)


def _count_steps(house: Parts) -> None:
    with house.database.reading() as db:
        counts = jobs.counts(db)
    house.meters.steps.clear()
    for (kind, status), count in counts.items():
        house.meters.steps.labels(kind, status).set(count)
