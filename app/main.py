"""The API's composition root: services, layers, routes."""

import asyncio
import gc
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.api import (
    calibration,
    catalogue,
    checkpoints,
    datasets,
    files,
    health,
    inference,
    jobs,
    keys,
    models,
    openapi,
    pages,
    problems,
    recommendations,
    sweeps,
    tournaments,
    uploads,
)
from app.api.bodies import Room
from app.api.dependencies import Authentication
from app.api.headers import Guarded
from app.api.load_shedding import Refusals
from app.api.meters import Metered, Meters
from app.api.services import Services
from app.api.shares import Shares, Turns
from app.api.ttl_cache import TtlCache
from app.blobs.store import Blobs
from app.core.settings import Settings
from app.core.version import code_version, public_version
from app.db.session import Database
from app.jobs import repository as job_repository
from app.jobs.feed import Feed
from app.jobs.repository import State
from app.keys import service as key_service
from app.page import routes as page
from app.serving.service import Serving, loader
from app.serving.streams import Streams
from app.serving.torch_process import TorchProcess

NOUNS = (
    files,
    uploads,
    checkpoints,
    datasets,
    jobs,
    models,
    recommendations,
    calibration,
    tournaments,
    sweeps,
    catalogue,
    keys,
)
FEED_INTERVAL_S = 0.3
LEAST_ROOM = 64 * 2**20  # bytes of bodies in memory
FOLLOWERS = 1024  # event streams
UPLOADS = 64  # at a time; each buffers some MiB
COLLECTED_AT = (50_000, 20, 20)  # see `gc`; with thousands of connections one of all that is alive takes 0.1 s


def create_app(settings: Settings) -> FastAPI:
    """An application on a migrated database."""
    services = _services(settings)
    app = FastAPI(
        title="Regraft",
        version=public_version(),
        openapi_url=None,  # see `app.api.pages`
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation,
        lifespan=_lifespan,
    )
    app.state.services = services
    app.add_middleware(Authentication, database=services.database)
    app.add_middleware(Metered, meters=services.meters)
    app.add_middleware(Guarded)
    problems.install(app)
    for noun in NOUNS:
        app.include_router(noun.router, responses=openapi.COMMON)
    app.include_router(inference.server)
    app.include_router(inference.router)
    app.include_router(health.router)
    app.include_router(pages.router)
    page.install(app)
    app.openapi = openapi.describing(app)  # type: ignore[method-assign]  # as FastAPI documents it
    return app


def _services(settings: Settings) -> Services:
    database = Database(settings.database)
    blobs = Blobs(settings.blobs, min_free_bytes=settings.min_free_bytes, cache=settings.cache)

    def states(job_ids: Collection[str]) -> dict[str, State]:
        with database.reading() as db:
            return job_repository.states(db, job_ids)

    torch_process = None
    if settings.serving_backend == "torch":
        torch_process = TorchProcess(device=settings.device, threads=settings.serving_threads)
    meters = Meters()
    return Services(
        settings=settings,
        database=database,
        blobs=blobs,
        serving=Serving(
            loader(blobs, settings.serving_threads, torch_process),
            memory_bytes=settings.serving_memory_bytes,
            run_bytes=settings.predict_memory_bytes,
            decode_bytes=settings.decode_memory_bytes,
            capacity=settings.serving_queue,
        ),
        torch_process=torch_process,
        streams=Streams(blobs, device=settings.device, threads=settings.serving_threads),
        feed=Feed(states, FEED_INTERVAL_S),
        meters=meters,
        refusals=Refusals(meters),
        room=Room(max(LEAST_ROOM, 4 * settings.max_predict_bytes), settings.max_connections),
        uploads=Turns(UPLOADS, each=UPLOADS // 4),
        assembling=Turns(2, each=1),
        followers=Shares(FOLLOWERS),
        alive=TtlCache(database),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await asyncio.gather(asyncio.to_thread(_make_first_key, services), asyncio.to_thread(code_version))
    gc.freeze()  # what is here now stays: no collection need look at it again
    gc.set_threshold(*COLLECTED_AT)
    gc.enable()
    yield
    services.feed.close()
    await services.serving.close()
    await services.streams.close()
    if services.torch_process is not None:
        services.torch_process.close()
    services.database.close()


def _make_first_key(services: Services) -> None:
    with services.database.unit_of_work() as db:
        key_service.ensure_first(db, services.settings.first_key)


def _operation(route: APIRoute) -> str:
    """The route's name in the OpenAPI document, such as `jobs_create`."""
    return f"{route.endpoint.__module__.rpartition('.')[2]}_{route.name.strip('_')}"
