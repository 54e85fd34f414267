"""`python -m app`: the API on a migrated database, until SIGTERM or SIGINT."""

# ruff: noqa: E402
import gc

gc.disable()  # until all is made, see `app.main`: of what the imports bring a fifth of the time would go to collections

import logging
import socket
import sys
from functools import partial

import uvicorn

from app.api.connections import Connections, Limits, room
from app.api.load_shedding import LoadShedding
from app.api.logs import Logged
from app.api.predictions.fast_path import OVERLOADED, FastPredictions
from app.api.services import Services
from app.core import private
from app.core.settings import Settings
from app.core.version import code_version
from app.db import schema
from app.jobs.feed import Feed
from app.main import create_app

log = logging.getLogger(__name__)

GRACE_S = 20  # for requests under way
SWITCH_S = 0.0005  # that a thread may keep the interpreter for: a network that has its batch must not wait for long


class _Server(uvicorn.Server):
    """Sends followers of jobs away when it is to stop: they would hold it up until their jobs end."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                log.info(
                    "Regraft %s answers at http://%s:%d", code_version(), f"[{host}]" if ":" in host else host, port
                )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("stopping")
        self._feed.close()
        await super().shutdown(sockets)


def main() -> None:
    settings = Settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s api %(levelname)s %(message)s")
    for told_here in ("uvicorn", "httpx"):  # requests, and what the page asks for them
        logging.getLogger(told_here).setLevel(logging.WARNING)
    private.keep(settings)
    sys.setswitchinterval(SWITCH_S)
    app = create_app(settings)
    services: Services = app.state.services
    schema.require_current(services.database.engine)
    _, headers, body = OVERLOADED
    headers_of_refusal = [*headers, (b"content-length", str(len(body)).encode())]
    limits = Limits(
        connections=room(settings.max_connections),
        body_s=settings.body_idle_s,
        body_bytes_s=settings.body_bytes_s,
    )
    shedding = partial(
        LoadShedding, connections=Connections(limits), refusals=services.refusals, headers=headers_of_refusal, body=body
    )
    config = uvicorn.Config(
        Logged(FastPredictions(app, services)),
        http=shedding,  # type: ignore[arg-type]  # it is only called
        ws="none",  # a connection that speaks another protocol would be beyond the limits
        host=settings.host,
        port=settings.port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config, services.feed).run()


if __name__ == "__main__":
    main()
