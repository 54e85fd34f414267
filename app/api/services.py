"""Services that routes work with: made once by `app.main`, found through the application's state."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from app.api.bodies import Room
from app.api.load_shedding import Refusals
from app.api.meters import Meters
from app.api.shares import Shares, Turns
from app.api.ttl_cache import TtlCache
from app.blobs.store import Blobs
from app.core.settings import Settings
from app.db.session import Database
from app.jobs.feed import Feed
from app.serving.service import Serving
from app.serving.streams import Streams
from app.serving.torch_process import TorchProcess


@dataclass(frozen=True)
class Services:
    """`torch_process` is the PyTorch process that `serving` asks, if it asks one.  `in_flight`: (owner,
    Idempotency-Key) of the requests that this process is working on.  `room` is for bodies that are held in memory,
    `uploads` for those that go to the store, `assembling` for uploads of which files are made.  `followers` are open
    event streams, `alive` says of a key whether it is valid.
    """

    settings: Settings
    database: Database
    blobs: Blobs
    serving: Serving
    streams: Streams
    torch_process: TorchProcess | None
    feed: Feed
    meters: Meters
    refusals: Refusals
    room: Room
    uploads: Turns
    assembling: Turns
    followers: Shares
    alive: TtlCache[bool]
    in_flight: set[tuple[str, str]] = field(default_factory=set)


async def services(request: Request) -> Services:
    shared: Services = request.app.state.services
    return shared


ServicesDep = Annotated[Services, Depends(services)]
