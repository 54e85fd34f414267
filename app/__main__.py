"""`python -m app`: the API on a migrated database, until SIGTERM or SIGINT."""

import gc
import logging
import socket

import uvicorn

from app.api.fast import FastPredictions
from app.api.parts import Parts
from app.core.settings import Settings
from app.jobs.feed import Feed
from app.main import create_app
from migrations import schema

GRACE_S = 20  # for requests under way


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
    settings.home.mkdir(parents=True, exist_ok=True)
    gc.disable()  # until all is made: see `app.main`
    app = create_app(settings)
    parts: Parts = app.state.parts
    schema.require_current(parts.database.engine)
    config = uvicorn.Config(
        FastPredictions(app, parts),
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
