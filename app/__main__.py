"""`python -m app`: the API on a migrated database, until SIGTERM or SIGINT."""

import gc
import logging
import socket
import sys
from functools import partial

import uvicorn

from app.api.connections import Connections, Limits, room
from app.api.door import Door
from app.api.fast import OVERLOADED, FastPredictions
from app.api.parts import Parts
from app.core import private
from app.core.settings import Settings
from app.jobs.feed import Feed
from app.main import create_app
from migrations import schema

GRACE_S = 20  # for requests under way
SWITCH_S = 0.0005  # that a thread may keep the interpreter for: a network that has its batch must not wait for long


class _Server(uvicorn.Server):
    """Sends followers of jobs away when it is to stop: they would hold it up until their jobs end."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.close()
        await super().shutdown(sockets)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s api %(levelname)s %(message)s")
    settings = Settings()
    private.keep(settings)
    sys.setswitchinterval(SWITCH_S)
    gc.disable()  # until all is made: see `app.main`
    app = create_app(settings)
    parts: Parts = app.state.parts
    schema.require_current(parts.database.engine)
    _, headers, body = OVERLOADED
    told = [*headers, (b"content-length", str(len(body)).encode())]
    limits = Limits(
        connections=room(settings.max_connections),
        body_s=settings.body_idle_s,
        body_bytes_s=settings.body_bytes_s,
    )
    door = partial(Door, connections=Connections(limits), refusals=parts.refusals, headers=told, body=body)
    config = uvicorn.Config(
        FastPredictions(app, parts),
        http=door,  # type: ignore[arg-type]  # it is only called
        ws="none",  # a connection that speaks another protocol would be beyond the limits
        host=settings.host,
        port=settings.port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config, parts.feed).run()


if __name__ == "__main__":
    main()
